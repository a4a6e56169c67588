//! A relay is killed while packets flow through it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netns_tests::{Pace, SteadyDatagrams, SteadyStream};
use rustix::process::Signal;

use super::gaps::{millis, say};
use super::node::{Node, Way};
use super::relays::{PATIENCE, Region};
use super::tunnel::Tunnel;

/// How long a node may be away.
const BACK: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relays_nodes_are_back_through_another() -> Result<()> {
    killed(Way::Quic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relays_nodes_on_tls_are_too() -> Result<()> {
    killed(Way::Tls).await
}

async fn killed(way: Way) -> Result<()> {
    let region = Region::start("failover")?;
    let (a, b) = (region.host("a", 11)?, region.host("b", 12)?);
    let one = Node::at_first(&a, way, (1, 11), &region.places(&[0, 1, 2])).await?;
    let two = Node::at_first(&b, way, (1, 12), &region.places(&[1, 2, 0])).await?;
    let (mut one, _two) = (Tunnel::new(&a, 11, one)?, Tunnel::new(&b, 12, two)?);
    let stream = SteadyStream::start(&a, &b, "10.9.0.12:80".parse()?)?;
    let there = SteadyDatagrams::start(&a, &b, "10.9.0.12:53".parse()?, Pace::SLOW)?;
    let back = SteadyDatagrams::start(&b, &a, "10.9.0.11:53".parse()?, Pace::SLOW)?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    region.relays[0].process.signal(Signal::KILL)?;
    one.node.at_home(1).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, tcp) = stream.finish()?;
    let gaps = [there.finish()?.gap, back.finish()?.gap];
    // `cargo xtask bench relay` reads these.
    say("kill tcp gap", millis(tcp));
    gaps.iter().for_each(|gap| say("kill datagram gap", millis(*gap)));
    ensure!(gaps.iter().all(|gap| *gap <= BACK), "{gaps:?}");
    Ok(())
}

/// The relay looks at its links every 50 ms and gives up the sixth time.
const NOTICED: Duration = Duration::from_millis(300);
/// How much later a busy machine may be.
const BUSY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stands_still_is_noticed_and_comes_back() -> Result<()> {
    let region = Region::start("stopped")?;
    let (a, b) = (region.host("a", 11)?, region.host("b", 12)?);
    let mut one = Node::at_first(&a, Way::Quic, (1, 11), &region.places(&[0])).await?;
    let mut two = Node::at_first(&b, Way::Quic, (1, 12), &region.places(&[1])).await?;
    one.reaches(&mut two).await?;
    let stopped = Instant::now();
    region.relays[1].process.signal(Signal::STOP)?;
    let said = region.relays[0].process.wait_for_line("has ended relay=2", PATIENCE);
    let took = stopped.elapsed();
    println!("a link to a relay that stands still was given up after {took:?}");
    one.misses(12).await?;
    region.relays[1].process.signal(Signal::CONT)?;
    said?;
    ensure!(took <= NOTICED + BUSY, "{took:?}");
    region.wait_for_links(&[0, 1, 2]);
    // It comes back by itself, and so does its node.
    one.reaches(&mut two).await
}
