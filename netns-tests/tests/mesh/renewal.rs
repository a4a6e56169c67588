//! Node keys: renewed in time, also through a crash.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use netns_tests::mesh::MeshNode;
use netns_tests::{Pinger, answers, ping, wait_until};
use serde_json::{Value, json};

use crate::scene::{RELAYED, Scene};

const DAY: u64 = 24 * 3600;

fn state(node: &MeshNode) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(node.state_file())?)?)
}

#[test]
fn a_node_key_that_ends_soon_is_renewed_while_packets_flow() -> Result<()> {
    let Scene { mut a, b, mut hub, lab: _lab } = Scene::new("mesh-renewal", RELAYED)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    let before = state(&a)?["identity"]["node_key"].clone();
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(20))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    hub.change_nodes(|node| node["expires"] = json!(now + 30 * DAY))?;
    for node in [&a, &b] {
        node.wait_for("another end of its node key", |status| {
            status["state"] == "connected" && status["expires"].as_u64() > Some(now + 100 * DAY)
        });
    }
    let renewed = state(&a)?;
    assert_ne!(renewed["identity"]["node_key"], before);
    assert!(renewed["identity"]["next_node_key"].is_null());
    let audit = hub.admin(&["audit", "home"])?;
    assert!(audit.contains("node.renew"), "{audit}");
    pinger.wait_for_more(50, Duration::from_secs(10))?;
    let count = pinger.finish()?;
    assert_eq!(count.lost(), 0, "{count:?}");

    // The relay, and then the control plane, take it by the new key.
    hub.stop_relay();
    hub.start_relay()?;
    for node in [&a, &b] {
        node.wait_for("the new relay", |status| !status["relay"].is_null());
    }
    ping(&a.host, &at_b)?;
    a.stop_daemon();
    a.start_daemon()?;
    a.wait_for("connected by the new key", |status| status["state"] == "connected");
    Ok(())
}

#[test]
fn a_node_key_whose_registration_was_not_heard_of_is_tried() -> Result<()> {
    let Scene { mut a, b, hub: _hub, lab: _lab } = Scene::new("mesh-renewal-crash", RELAYED)?;
    a.kill_daemon()?;
    // As a crash leaves it between the control plane's deed and its answer.
    let mut crashed = state(&a)?;
    let identity = crashed["identity"].as_object_mut().context("an identity")?;
    let known = identity["node_key"].clone();
    let unknown = json!("AQEB".repeat(10) + "AQE=");
    identity.insert("node_key".into(), unknown);
    identity.insert("next_node_key".into(), known.clone());
    fs::write(a.state_file(), crashed.to_string())?;
    a.start_daemon()?;
    a.wait_for("connected by the next key", |status| status["state"] == "connected");
    let adopted = state(&a)?;
    assert_eq!(adopted["identity"]["node_key"], known);
    assert!(adopted["identity"]["next_node_key"].is_null());
    let at_b = b.address()?;
    wait_until(Duration::from_secs(20), "an echo", || {
        answers(&a.host, &at_b, Duration::from_secs(1)).unwrap_or(false)
    });
    Ok(())
}
