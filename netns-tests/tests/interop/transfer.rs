//! Bulk: every byte over a good wire and a bad one, and what is counted of it.

use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{INNER_A, INNER_B, Implementation, Pairing, Tunnel, impaired_hosts};
use netns_tests::{Impairment, Lab, ping, tcp_transfer, wait_until};

use crate::{SOON, pair, wired, with_each_implementation};

with_each_implementation!(
    a_gigabyte_arrives_as_sent,
    a_bad_wire_loses_nothing_of_a_stream,
    both_ends_count_the_same,
);

/// Half a gigabyte each way; a build without optimisation on a busy machine takes its time.
fn a_gigabyte_arrives_as_sent(theirs: Implementation) -> Result<()> {
    let patience = Duration::from_secs(120);
    let hosts = wired("gigabyte")?;
    let [ours, _theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    let [a, b] = &hosts;
    ping(a, INNER_B[0])?;
    let out = tcp_transfer(a, b, INNER_B[0].parse()?, 512 << 20, patience)?;
    let back = tcp_transfer(b, a, INNER_A[1].parse()?, 512 << 20, patience)?;
    println!(
        "{theirs:?}: out {:.0} Mbit/s, back {:.0} Mbit/s",
        out.mbit_per_second(),
        back.mbit_per_second()
    );
    assert!(ours.process().is_running());
    Ok(())
}

/// With and without offload, in every pairing: what one cuts the other joins, or does not.
#[test]
fn every_byte_arrives_with_and_without_offload() -> Result<()> {
    for [a_plain, b_plain] in [[true, true], [true, false], [false, true]] {
        let hosts = wired("offload")?;
        let start = |host, plain| {
            let builder = Tunnel::builder(Implementation::Nearwire);
            if plain { builder.arg("--no-offload") } else { builder }.start(host)
        };
        let [a, b] = &hosts;
        let tunnels = [start(a, a_plain)?, start(b, b_plain)?];
        Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
        ping(a, INNER_B[0])?;
        let patience = Duration::from_secs(60);
        tcp_transfer(a, b, INNER_B[0].parse()?, 32 << 20, patience)?;
        tcp_transfer(b, a, INNER_A[1].parse()?, 32 << 20, patience)?;
    }
    Ok(())
}

fn a_bad_wire_loses_nothing_of_a_stream(theirs: Implementation) -> Result<()> {
    let bad = Impairment {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.02,
        duplicate: 0.02,
        reorder: 0.05,
        corrupt: 0.005,
        ..Impairment::NONE
    };
    let lab = Lab::new("bad wire")?;
    let (hosts, link) = impaired_hosts(&lab, Impairment::NONE, 11)?;
    let [_ours, _theirs] = pair(&hosts, theirs, Pairing::over_v6())?;
    let [a, b] = &hosts;
    ping(a, INNER_B[0])?;
    link.set(bad);
    let patience = Duration::from_secs(60);
    tcp_transfer(a, b, INNER_B[0].parse()?, 4 << 20, patience)?;
    tcp_transfer(b, a, INNER_A[1].parse()?, 4 << 20, patience)?;
    Ok(())
}

/// On a clean wire, what one end sent the other received. In small transfers: a burst that does not
/// fit the socket of the other is lost there, and counted by its sender alone.
fn both_ends_count_the_same(theirs: Implementation) -> Result<()> {
    let hosts = wired("counters")?;
    let pairing = Pairing { preshared: true, ..Pairing::over_v4() };
    let [ours, theirs] = pair(&hosts, theirs, pairing)?;
    let [a, b] = &hosts;
    for _ in 0..20 {
        tcp_transfer(a, b, INNER_B[0].parse()?, 50_001, SOON)?;
        tcp_transfer(b, a, INNER_A[1].parse()?, 30_001, SOON)?;
    }
    let counted = || -> Result<[u64; 4]> {
        let (here, there) = (ours.peer(&theirs)?, theirs.peer(&ours)?);
        Ok([here.tx, there.rx, there.tx, here.rx])
    };
    let mut last = [0; 4];
    // The last acknowledgements may be under way.
    let agree = |[sent, received, back_sent, back_received]: [u64; 4]| {
        if theirs.implementation() == Implementation::Boringtun {
            // It counts the packets inside, without what WireGuard adds.
            received < sent && back_sent < back_received
        } else {
            received == sent && back_sent == back_received
        }
    };
    wait_until(SOON, "counters that agree", || {
        last = counted().unwrap_or_default();
        agree(last)
    });
    let [sent, received, back_sent, back_received] = last;
    assert!(sent.min(received) > 1_000_020 && back_sent.min(back_received) > 600_020, "{last:?}");
    Ok(())
}
