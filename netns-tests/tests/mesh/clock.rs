//! Wall clocks that are wrong, and that are set while packets flow.

use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::{Hub, Programs};
use netns_tests::{Lab, Pinger, ping, wait_until};
use throwaway_postgres::{Cluster, Durability};

use crate::scene::{DIRECT, RELAYED, Scene};

/// A key is due after thirty.
const DAYS: i32 = 40;
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_clock_that_jumps_changes_a_key_once_and_loses_nothing() -> Result<()> {
    let Scene { a, mut b, hub: _hub, lab: _lab } = Scene::new("mesh-clock", DIRECT)?;
    b.stop_daemon();
    b.set_clock(0)?;
    b.start_daemon()?;
    let connected = |status: &serde_json::Value| status["state"] == "connected";
    b.wait_for("connected", connected);
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    let key = b.status()?["key"].clone();
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(20))?;

    b.set_clock(DAYS)?;
    b.wait_for("another key, which is due by this clock", |status| status["key"] != key);
    let key = b.status()?["key"].clone();
    a.wait_for("the other's new key", |status| status["peers"][0]["key"] == key);
    pinger.wait_for_more(400, PATIENCE)?;
    assert_eq!(b.status()?["key"], key, "the new key is as old by this clock, and stays");

    b.set_clock(-DAYS)?;
    pinger.wait_for_more(200, PATIENCE)?;
    assert!(connected(&b.status()?));
    let count = pinger.finish()?;
    assert_eq!(count.lost(), 0, "{count:?}\n{}", b.log());

    // With a clock that is wrong from its start on, it comes in as well.
    b.stop_daemon();
    b.start_daemon()?;
    b.wait_for("connected again", connected);
    Ok(())
}

#[test]
fn a_relay_whose_clock_is_ahead_is_named_with_the_reason_and_serves_when_it_is_set() -> Result<()> {
    let Scene { a, b, mut hub, lab: _lab } = Scene::new("mesh-relay-clock", RELAYED)?;
    hub.start_deaf_relay()?;
    let both = || hub.homes().is_ok_and(|homes| homes == 2);
    wait_until(LONG, "both at the relay", both);
    // Tickets are good for an hour.
    hub.set_relay_clock(2)?;
    for node in [&a, &b] {
        node.wait_for("the reason", |status| {
            let warnings = status["warnings"].to_string();
            status["relay"].is_null() && warnings.contains("by the relay's clock")
        });
        assert!(node.nearwire(&["status"])?.contains("by the relay's clock"));
    }
    hub.set_relay_clock(0)?;
    wait_until(LONG, "both at the relay again", both);
    for node in [&a, &b] {
        node.wait_for("no reason any more", |status| status["warnings"] == serde_json::json!([]));
    }
    ping(&a.host, &b.address()?)?;
    Ok(())
}

#[test]
fn instances_whose_clocks_differ_go_by_that_of_the_database() -> Result<()> {
    let cluster = Cluster::start(Durability::Lost)?;
    let lab = Lab::new("mesh-instances-clock")?;
    let mut hub = Hub::start_on(&lab, DIRECT, Programs::beside()?, Some(cluster.database()?))?;
    let said = hub.set_clock_of_the_other(15)?;
    assert!(said.contains("seconds=-900") || said.contains("seconds=-899"), "{said}");
    let (a, mut b) = (hub.node(&lab, "a")?, hub.node(&lab, "b")?);
    let lasting = hub.auth_key(&["--tag", "tag:node"])?;
    let fleeting = hub.auth_key(&["--ephemeral", "--tag", "tag:node"])?;
    a.up(&hub, &lasting, &[])?;
    b.up_at(&hub.other_url(), &hub, &fleeting, &[])?;
    ping(&a.host, &b.address()?)?;
    // Who has a session of one is let in by the other.
    hub.stop_control();
    hub.turn_to_the_other(true)?;
    a.wait_for("connected to the other", |status| status["state"] == "connected");
    hub.turn_to_the_other(false)?;
    hub.start_control()?;
    // A node that goes is kept for ten minutes, whoever looks: each does every ten seconds.
    b.kill_daemon()?;
    a.wait_for("b is gone", |status| status["peers"][0]["online"] == false);
    std::thread::sleep(Duration::from_secs(25));
    let nodes = hub.admin_json(&["nodes", "list", "home"])?;
    assert!(
        nodes["nodes"].as_array().is_some_and(|all| all.iter().any(|node| node["name"] == "b"))
    );
    Ok(())
}
