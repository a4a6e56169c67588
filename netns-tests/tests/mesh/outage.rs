//! The control plane goes, and comes back; daemons too.

use std::time::Duration;

use anyhow::Result;
use netns_tests::{Pinger, ping};

use crate::scene::{DIRECT, Scene};

#[test]
fn a_mesh_works_on_while_the_control_plane_is_away_and_hears_of_it_when_it_is_back() -> Result<()> {
    let Scene { mut a, b, mut hub, lab: _lab } = Scene::new("mesh-outage", DIRECT)?;
    let at_b = b.address()?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    hub.stop_control();
    a.wait_for("offline", |status| status["state"] == "offline");
    assert!(a.nearwire(&["status"])?.contains("working by the last netmap"));
    pinger.wait_for_more(20, Duration::from_secs(10))?;
    drop(pinger);

    // A node that starts meanwhile goes by what it kept.
    a.stop_daemon();
    a.start_daemon()?;
    a.wait_for("offline after a start", |status| status["state"] == "offline");
    ping(&a.host, &at_b)?;
    // Another enrolment, which nobody answers, takes nothing away.
    assert!(a.up(&hub, "a key", &[]).is_err());
    a.wait_for("offline as before", |status| status["state"] == "offline");
    ping(&a.host, &at_b)?;

    hub.start_control()?;
    for node in [&a, &b] {
        node.wait_for("connected again", |status| status["state"] == "connected");
    }
    hub.policy(r#"{ "acls": [] }"#)?;
    a.wait_for("news", |status| status["peers"] == serde_json::json!([]));

    a.nearwire(&["down"])?;
    assert_eq!(a.status()?["state"], "down");
    a.stop_daemon();
    a.start_daemon()?;
    assert_eq!(a.status()?["state"], "down", "it stays down");
    Ok(())
}
