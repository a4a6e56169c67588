//! Direct where it can be, by the relay where not.

use std::time::Duration;

use anyhow::Result;
use netns_tests::{Pinger, ping, tcp_transfer};

use netns_tests::Lab;
use netns_tests::mesh::{Hub, HubOptions, Nat};

use crate::scene::{DIRECT, RELAYED, Scene};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_pair_that_has_no_other_way_uses_the_relay() -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new("mesh-relayed", RELAYED)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", "relay");
    assert!(a.nearwire(&["ping", "b", "--count", "1"])?.contains("by relay hub"));
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 4 << 20, SOON)?;
    Ok(())
}

#[test]
fn a_pair_leaves_the_relay_when_it_can_and_returns_when_it_must() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-paths", RELAYED)?;
    let at_b = b.address()?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(100))?;
    a.wait_for_path("b", "relay");
    hub.host.sysctl("net.ipv4.ip_forward", "1")?;
    a.wait_for_path("b", "direct");
    b.wait_for_path("a", "direct");
    pinger.wait_for_more(10, SOON)?;
    hub.host.sysctl("net.ipv4.ip_forward", "0")?;
    a.wait_for_path("b", "relay");
    pinger.wait_for_more(10, SOON)?;
    Ok(())
}

#[test]
fn a_pair_without_a_relay_is_direct() -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new("mesh-direct", DIRECT)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", "direct");
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 16 << 20, SOON)?;
    Ok(())
}

#[test]
fn two_nodes_behind_nats_begin_by_the_relay_and_get_through() -> Result<()> {
    let lab = Lab::new("mesh-nats")?;
    let hub = Hub::start(&lab, HubOptions { forwards: true, relay: true })?;
    let (a, _routers_of_a) = hub.node_behind(&lab, "a", Nat::PortRestricted)?;
    let (b, _routers_of_b) = hub.node_behind(&lab, "b", Nat::PortRestricted)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    a.up(&hub, &key, &[])?;
    b.up(&hub, &key, &[])?;
    let at_b = b.address()?;
    a.wait_for("a peer", |status| status["peers"].as_array().is_some_and(|p| !p.is_empty()));
    b.wait_for("its home", |status| !status["relay"].is_null());
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(100))?;
    a.wait_for_path("b", "direct");
    b.wait_for_path("a", "direct");
    pinger.wait_for_more(10, SOON)?;
    Ok(())
}
