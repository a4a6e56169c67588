//! A relay is killed while packets flow through it.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::gaps::{Datagrams, Stream};
use super::node::Node;
use super::relays::Region;
use super::tunnel::Tunnel;

/// How long a node may be away.
const BACK: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relays_nodes_are_back_through_another() -> Result<()> {
    let region = Region::start("failover")?;
    let (a, b) = (region.host("a", 11)?, region.host("b", 12)?);
    let mut one = Node::start(&a, 1, 11, region.places(&[0, 1, 2]))?;
    let mut two = Node::start(&b, 1, 12, region.places(&[1, 2, 0]))?;
    one.at_home(0).await?;
    two.at_home(0).await?;
    let (mut one, _two) = (Tunnel::new(&a, 11, one)?, Tunnel::new(&b, 12, two)?);
    let stream = Stream::start(&a, &b, "10.9.0.12:80")?;
    let there = Datagrams::start(&a, &b, "10.9.0.12:53")?;
    let back = Datagrams::start(&b, &a, "10.9.0.11:53")?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    region.relays[0].process.signal(Signal::KILL)?;
    one.node.at_home(1).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, tcp) = stream.finish()?;
    let gaps = [there.finish()?.2, back.finish()?.2];
    println!("kill: nothing came for {gaps:?}, by TCP for {tcp:?}");
    ensure!(gaps.iter().all(|gap| *gap <= BACK), "{gaps:?}");
    Ok(())
}
