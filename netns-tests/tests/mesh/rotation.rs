//! Keys that change under traffic.

use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::{Hub, HubOptions, MeshNode};
use netns_tests::{Lab, Pinger, ping};

use crate::scene::{DIRECT, RELAYED, Scene};

/// Both change their keys while packets go this way.
fn nothing_is_lost(a: &MeshNode, b: &MeshNode, path: &str) -> Result<()> {
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", path);
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(10))?;
    for (node, other) in [(a, b), (b, a)] {
        let before = node.status()?["key"].clone();
        let rotates = node.status()?["rotates"].clone();
        node.nearwire(&["rotate"])?;
        node.wait_for("another key", |status| status["key"] != before);
        let after = node.status()?["key"].clone();
        other.wait_for("the other's new key", |status| status["peers"][0]["key"] == after);
        node.wait_for("when it rotates again", |status| status["rotates"] != rotates);
        pinger.wait_for_more(300, Duration::from_secs(20))?;
    }
    let count = pinger.finish()?;
    assert_eq!(count.lost(), 0, "{count:?}\n{}\n{}", a.log(), b.log());
    Ok(())
}

#[test]
fn nothing_is_lost_directly() -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new("mesh-rotate", DIRECT)?;
    nothing_is_lost(&a, &b, "direct")
}

#[test]
fn nothing_is_lost_by_the_relay() -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new("mesh-rotate-relay", RELAYED)?;
    nothing_is_lost(&a, &b, "relay")
}

#[test]
fn nothing_is_lost_by_relays_of_two_regions() -> Result<()> {
    let lab = Lab::new("mesh-rotate-regions")?;
    let mut hub = Hub::start(&lab, HubOptions { forwards: false, relay: false })?;
    hub.start_relays(2)?;
    let (a, b) = (hub.node(&lab, "a")?, hub.node(&lab, "b")?);
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    // Each finds one relay only at first, and stays there.
    for (node, other) in [(&a, "10.255.0.2"), (&b, "10.255.0.1")] {
        let rules = format!(
            "table ip far {{ chain out {{ type filter hook output priority 0; \
                ip daddr {other} udp dport {{ 443, 3478 }} drop; ip daddr {other} tcp dport 443 drop; }}; }}"
        );
        node.host.run(["nft", &rules])?;
        node.up(&hub, &key, &[])?;
    }
    for (node, region) in [(&a, 1), (&b, 2)] {
        node.wait_for("its home", |status| status["relay"]["region"] == region);
        node.host.run(["nft", "delete table ip far"])?;
    }
    a.wait_for("b's home", |status| status["peers"][0]["relay"] == "hub1");
    b.wait_for("a's home", |status| status["peers"][0]["relay"] == "hub");
    nothing_is_lost(&a, &b, "relay")
}
