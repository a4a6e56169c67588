//! A relay drains while TCP flows through it.

use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::{Arrivals, Pace, SteadyDatagrams, SteadyStream, wait_until};
use rustix::process::Signal;

use super::gaps::{millis, say};
use super::node::{Node, Way};
use super::relays::{PATIENCE, Region};
use super::tunnel::Tunnel;

/// The longest time without a byte. On an idle machine it is some milliseconds.
const GAP: Duration = Duration::from_millis(100);
/// The same on TLS, whose new connections take a core for longer, beside what else a machine does.
const GAP_ON_TLS: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_by_signal_costs_no_connection() -> Result<()> {
    let region = Region::start("drain")?;
    drained(&region, Way::Quic, false, by_signal).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_tls_go_elsewhere_too() -> Result<()> {
    let region = Region::start("drain")?;
    drained(&region, Way::Tls, false, by_signal).await
}

fn by_signal(region: &Region) -> Result<()> {
    region.relays[0].process.signal(Signal::TERM)
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_a_lane_go_on_without_it() -> Result<()> {
    let region = Region::start("drain")?;
    drained(&region, Way::Quic, true, |region| {
        let status = region.status(0)?;
        let packets = status.pointer("/counters/lane_packets").and_then(|packets| packets.as_u64());
        ensure!(packets.is_some_and(|packets| packets > 500), "{status}");
        by_signal(region)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_by_command_does_the_same() -> Result<()> {
    let region = Region::start("drain")?;
    drained(&region, Way::Quic, false, |region| {
        let said = region.operate(0, "drain")?;
        ensure!(said.contains("within 2000 ms"), "{said}");
        Ok(())
    })
    .await
}

/// Two nodes at one relay, which ends: each goes to another.
async fn drained(
    region: &Region,
    way: Way,
    lane: bool,
    drain: impl Fn(&Region) -> Result<()>,
) -> Result<()> {
    let (a, b) = (region.host("a", 11)?, region.host("b", 12)?);
    let mut one = Node::at_first(&a, way, (1, 11), &region.places(&[0, 1, 2])).await?;
    let mut two = Node::at_first(&b, way, (1, 12), &region.places(&[0, 2, 1])).await?;
    if lane {
        one.opens_lane(12).await?;
        two.has_lane().await?;
    }
    let (mut one, mut two) = (Tunnel::new(&a, 11, one)?, Tunnel::new(&b, 12, two)?);
    let stream = SteadyStream::start(&a, &b, "10.9.0.12:80".parse()?)?;
    let datagrams = SteadyDatagrams::start(&b, &a, "10.9.0.11:53".parse()?, Pace::SLOW)?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    drain(region)?;
    one.node.at_home(1).await?;
    two.node.at_home(1).await?;
    wait_until(PATIENCE, "the end of the relay", || !region.relays[0].process.is_running());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (_, gap) = stream.finish()?;
    let felt @ Arrivals { sent, arrived, gap: datagram_gap } = datagrams.finish()?;
    // `cargo xtask bench relay` reads these.
    say("drain tcp gap", millis(gap));
    say("drain datagram gap", millis(datagram_gap));
    say("drain lost", f64::from(u32::try_from(felt.lost())?));
    let most = if way == Way::Tls { GAP_ON_TLS } else { GAP };
    ensure!(gap <= most, "{gap:?} without a byte");
    ensure!(datagram_gap <= most, "{datagram_gap:?} without a datagram");
    ensure!(arrived == sent, "{} datagrams were lost", sent - arrived);
    Ok(())
}
