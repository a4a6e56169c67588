//! Three relays: any node reaches any, and relays join and leave without a restart.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::node::{Node, Way};
use super::relays::Region;

#[tokio::test(flavor = "multi_thread")]
async fn any_node_reaches_any_and_relays_join_and_leave() -> Result<()> {
    let region = Region::start("mesh")?;
    let hosts = [region.host("a", 11)?, region.host("b", 12)?, region.host("c", 13)?];
    let mut nodes = Vec::new();
    for (at, number, way) in [(0, 11, Way::Quic), (1, 12, Way::Tls), (2, 13, Way::Tls)] {
        let mut node = Node::start(&hosts[at], way, (1, number), region.places(&[at]))?;
        node.at_home(0).await?;
        nodes.push(node);
    }
    for from in 0..3 {
        for to in (0..3).filter(|&to| to != from) {
            let [one, two] = nodes.get_disjoint_mut([from, to])?;
            one.reaches(two).await?;
        }
    }
    // What is too long for a datagram of the path, and another network, which is not reached.
    let long = vec![7; 20_000];
    nodes[0].sender.send((nodes[1].key(), long.clone()))?;
    loop {
        let (_, packet) = nodes[1].received.recv().await.expect("it runs");
        if packet == long {
            break;
        }
    }
    let mut stranger = Node::start(&hosts[0], Way::Quic, (2, 14), region.places(&[0]))?;
    stranger.at_home(0).await?;
    stranger.misses(12).await?;

    let status = region.operate(0, "status")?;
    print!("{status}");
    ensure!(status.contains("region       lab, as relay 1"), "{status}");
    ensure!(status.contains("relay 3    10.0.0.3:444 up, "), "{status}");

    // The third leaves the region, and comes back; nobody is started anew.
    region.write(&[0, 1])?;
    region.relays[1].process.signal(Signal::HUP)?;
    region.wait_for_links(&[0, 1]);
    nodes[0].misses(13).await?;
    let [one, two] = nodes.get_disjoint_mut([0, 1])?;
    one.reaches(two).await?;
    region.write(&[0, 1, 2])?;
    region.wait_for_links(&[0, 1, 2]);
    let [one, three] = nodes.get_disjoint_mut([0, 2])?;
    one.reaches(three).await?;
    three.reaches(one).await?;
    Ok(())
}
