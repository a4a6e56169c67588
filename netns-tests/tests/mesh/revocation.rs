//! A node that is revoked loses its relay at once, also if it does not hear of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use netns_tests::mesh::{Hub, MeshNode};
use netns_tests::{Pinger, answers, ping, wait_until};

use crate::scene::{RELAYED, Scene, cut_after};

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

/// Whatever the control plane says, the node does not hear it.
fn deafen(node: &MeshNode) -> Result<()> {
    let rules = "table ip deaf { chain in { type filter hook input priority 0; \
                 tcp sport 8443 drop; }; }";
    node.host.run(["nft", rules]).map(drop)
}

/// How often the relay has refused somebody for this reason.
fn refused(hub: &Hub, reason: &str) -> u64 {
    let text = hub.relay_metrics().unwrap_or_default();
    let name = format!("refused_total{{reason=\"{reason}\"}}");
    let line = text.lines().find(|line| line.contains(&name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_relay_cuts_a_revoked_node_off_that_goes_on_by_its_ticket() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-revoked", RELAYED)?;
    let metrics = |line: &str| {
        let line = format!("nearwire_relay_{line}\n");
        hub.relay_metrics().is_ok_and(|text| text.contains(&line))
    };
    wait_until(SOON, "the relay hears the control plane", || metrics("control_up 1"));
    let (at_b, id) = (b.address()?, b.id()?);
    ping(&a.host, &at_b)?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(20))?;
    pinger.wait_for_more(20, SOON)?;
    // Neither end lets go of the other by itself.
    deafen(&a)?;
    deafen(&b)?;
    pinger.wait_for_more(20, SOON)?;
    let start = Instant::now();
    hub.admin(&["nodes", "expire", "home", &id])?;
    let cut = cut_after(&pinger, start, SOON);
    assert!(cut < Duration::from_secs(1), "{cut:?}");
    // It tries its ticket again, and that is refused.
    wait_until(SOON, "its ticket is refused", || refused(&hub, "revoked") >= 2);
    assert_eq!(hub.homes()?, 1);
    Ok(())
}

#[test]
fn a_relay_that_hears_nothing_serves_a_revoked_node_until_its_ticket_ends() -> Result<()> {
    let Scene { a, b, mut hub, lab: _lab } = Scene::new("mesh-ticket", RELAYED)?;
    hub.start_deaf_relay()?;
    wait_until(LONG, "both at the relay", || hub.homes().is_ok_and(|homes| homes == 2));
    let (at_b, id) = (b.address()?, b.id()?);
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(20))?;
    deafen(&a)?;
    deafen(&b)?;
    hub.admin(&["nodes", "expire", "home", &id])?;
    pinger.wait_for_more(100, SOON)?;
    assert_eq!(hub.homes()?, 2);
    // A ticket is for an hour.
    hub.set_relay_clock(2)?;
    let ended = Instant::now();
    cut_after(&pinger, ended, LONG);
    // Nor do they come in again.
    wait_until(LONG, "its ticket is refused", || refused(&hub, "expired_ticket") >= 4);
    assert_eq!(hub.homes()?, 0);
    assert!(!answers(&a.host, &at_b, Duration::from_secs(2))?);
    Ok(())
}

#[test]
fn a_node_that_may_again_is_served_again() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-reapproved", RELAYED)?;
    let (at_b, id) = (b.address()?, b.id()?);
    ping(&a.host, &at_b)?;
    hub.admin(&["nodes", "expire", "home", &id])?;
    wait_until(SOON, "one is left", || hub.homes().is_ok_and(|homes| homes == 1));
    // It enrols anew, as itself.
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    b.up(&hub, &key, &[])?;
    assert_eq!(b.id()?, id);
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    pinger.wait_for_more(20, Duration::from_secs(60))?;
    Ok(())
}
