//! More than a tunnel can carry: its queue would stand, so TCP is told to slow down.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use dataplane_common::DropReason;
use netns_tests::wireguard::{INNER_A, INNER_B, Implementation, Pairing, Tunnel, wired_hosts};
use netns_tests::{Host, Lab, ping, tcp_transfer};

use crate::PATIENCE;

const STREAMS: usize = 8;
const BYTES: u64 = 12 << 20;

/// A counter of a host's TCP or IP extensions, as `nstat` shows.
fn counter(host: &Host, group: &str, name: &str) -> Result<u64> {
    let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = pairs.find(|(known, _)| *known == name).with_context(|| name.to_owned())?;
    Ok(value.parse()?)
}

/// Data segments that TCP knows to have arrived with a mark.
fn delivered_marked(host: &Host) -> Result<u64> {
    counter(host, "TcpExt:", "TCPDeliveredCE")
}

/// Several streams at once, all of which arrive right, half of them the other way.
fn overload([a, b]: &[Host; 2]) -> Result<()> {
    std::thread::scope(|scope| {
        let stream = |number: usize| {
            let (from, to, address) =
                if number.is_multiple_of(2) { (a, b, INNER_B[0]) } else { (b, a, INNER_A[0]) };
            scope.spawn(move || tcp_transfer(from, to, address.parse()?, BYTES, PATIENCE))
        };
        let streams: Vec<_> = (0..STREAMS).map(stream).collect();
        streams
            .into_iter()
            .try_for_each(|stream| stream.join().expect("a stream's thread").map(drop))
    })
}

/// What both ends dropped for a queue that stood, and how many marks arrived.
fn signals(name: &str, ecn: bool) -> Result<[u64; 2]> {
    let lab = Lab::new(name)?;
    let hosts = wired_hosts(&lab)?;
    for host in &hosts {
        host.sysctl("net.ipv4.tcp_ecn", if ecn { "1" } else { "0" })?;
    }
    let start = |host| Tunnel::start(host, Implementation::Nearwire);
    let tunnels = [start(&hosts[0])?, start(&hosts[1])?];
    Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
    ping(&hosts[0], INNER_B[0])?;
    let started = Instant::now();
    overload(&hosts)?;
    let took = started.elapsed();
    let mut sums = [0; 2];
    for tunnel in &tunnels {
        sums[0] += tunnel.dropped(DropReason::Backlog.label())?;
        sums[1] += delivered_marked(tunnel.host())?;
    }
    println!("ECN {ecn}: {took:?}, {} dropped, {} marked", sums[0], sums[1]);
    Ok(sums)
}

#[test]
fn without_marks_some_segments_are_dropped() -> Result<()> {
    let [dropped, marked] = signals("dropped", false)?;
    assert!(dropped > 0);
    assert_eq!(marked, 0);
    Ok(())
}

#[test]
fn with_marks_none_is_dropped() -> Result<()> {
    let [dropped, marked] = signals("marked", true)?;
    assert_eq!(dropped, 0);
    assert!(marked > 0);
    Ok(())
}
