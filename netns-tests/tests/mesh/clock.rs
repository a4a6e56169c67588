//! Wall clocks that are wrong, and that are set while packets flow.

use std::time::Duration;

use anyhow::Result;
use netns_tests::{Pinger, ping, wait_until};

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
