//! Many streams at once, every byte compared, over wires that reorder, lose and repeat.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::wireguard::{
    INNER_A, INNER_B, Implementation, Pairing, Tunnel, impaired_hosts, wired_hosts,
};
use netns_tests::{Direction, Host, Impairment, Lab, ping, tcp_transfer};

use crate::talking;

const PATIENCE: Duration = Duration::from_secs(120);

/// Sixteen streams: in both directions and both families, four of each.
fn sixteen([a, b]: &[Host; 2], bytes: u64) -> Result<()> {
    let ways = [(a, b, INNER_B[0]), (a, b, INNER_B[1]), (b, a, INNER_A[0]), (b, a, INNER_A[1])];
    std::thread::scope(|scope| {
        let streams: Vec<_> = ways
            .into_iter()
            .cycle()
            .take(16)
            .map(|(from, to, address)| {
                scope.spawn(move || tcp_transfer(from, to, address.parse()?, bytes, PATIENCE))
            })
            .collect();
        streams
            .into_iter()
            .try_for_each(|stream| stream.join().expect("a stream's thread").map(drop))
    })
}

#[test]
fn sixteen_streams_over_a_good_wire() -> Result<()> {
    for theirs in Implementation::ALL {
        let lab = Lab::new("sixteen")?;
        let hosts = wired_hosts(&lab)?;
        let _tunnels = talking(&hosts, theirs)?;
        sixteen(&hosts, 16 << 20).with_context(|| format!("{theirs:?}"))?;
    }
    Ok(())
}

/// Over both families outside.
fn bad_wire(pairing: Pairing, impairment: Impairment) -> Result<()> {
    let lab = Lab::new("bad")?;
    let (hosts, link) = impaired_hosts(&lab, Impairment::NONE, 23)?;
    let [a, b] = &hosts;
    let start = |host| Tunnel::start(host, Implementation::Nearwire);
    let tunnels = [start(a)?, start(b)?];
    pairing.connect(&tunnels[0], &tunnels[1])?;
    ping(a, INNER_B[0])?;
    link.set(impairment);
    sixteen(&hosts, 4 << 20)?;
    // It was as bad as that.
    for direction in [Direction::AToB, Direction::BToA] {
        let done = link.counters(direction);
        assert!(done.lost > 0 && done.duplicated > 0 && done.reordered > 0, "{done:?}");
    }
    Ok(())
}

const BAD: Impairment = Impairment {
    delay: Duration::from_millis(2),
    loss: 0.005,
    duplicate: 0.02,
    reorder: 0.05,
    ..Impairment::NONE
};

#[test]
fn sixteen_streams_over_a_bad_wire_of_v4() -> Result<()> {
    bad_wire(Pairing::over_v4(), BAD)
}

#[test]
fn sixteen_streams_over_a_bad_wire_of_v6() -> Result<()> {
    bad_wire(Pairing::over_v6(), Impairment { corrupt: 0.002, ..BAD })
}
