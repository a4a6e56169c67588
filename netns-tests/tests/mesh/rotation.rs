//! Keys that change under traffic.

use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::HubOptions;
use netns_tests::{Pinger, ping};

use crate::scene::{DIRECT, RELAYED, Scene};

fn nothing_is_lost(name: &str, options: HubOptions) -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new(name, options)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", if options.relay { "relay" } else { "direct" });
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(10))?;
    for node in [&a, &b] {
        let other = if node.name == "a" { &b } else { &a };
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
    nothing_is_lost("mesh-rotate", DIRECT)
}

#[test]
fn nothing_is_lost_by_the_relay() -> Result<()> {
    nothing_is_lost("mesh-rotate-relay", RELAYED)
}
