//! More than a pair.

use anyhow::Result;
use netns_tests::mesh::{Hub, HubOptions, MeshNode};
use netns_tests::{Lab, ping};

const NODES: usize = 20;

#[test]
fn twenty_nodes_reach_each_other() -> Result<()> {
    let lab = Lab::new("mesh-many")?;
    let hub = Hub::start(&lab, HubOptions { forwards: true, relay: true })?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    let nodes: Vec<MeshNode> =
        (0..NODES).map(|n| hub.node(&lab, &format!("n{n}"))).collect::<Result<_>>()?;
    for node in &nodes {
        node.up(&hub, &key, &[])?;
    }
    for node in &nodes {
        node.wait_for("all the others", |status| {
            let others = status["peers"].as_array().map_or(0, Vec::len);
            others == NODES - 1 && !status["relay"].is_null()
        });
    }
    let addresses: Vec<String> = nodes.iter().map(MeshNode::address).collect::<Result<_>>()?;
    // Each reaches the next three, so that everybody asks and answers.
    for (n, node) in nodes.iter().enumerate() {
        for step in 1..=3 {
            ping(&node.host, &addresses[(n + step) % NODES])?;
        }
    }
    Ok(())
}
