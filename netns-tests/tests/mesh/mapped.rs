//! Routers that map ports for who asks: nodes behind hard NATs meet by that, and live without.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Asked, Hub, HubOptions, Igd, MeshNode, Nat};
use netns_tests::{Lab, Pinger, wait_until};
use serde_json::Value;

const HUB: HubOptions = HubOptions { forwards: true, relay: true };
const EVERY: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(60);
/// How long a pair that cannot be direct is watched.
const WATCHED: Duration = Duration::from_secs(8);

/// Two nodes behind such routers, whose NATs alone would keep them on the relay.
struct Pair {
    a: MeshNode,
    b: MeshNode,
    /// Each one's router.
    igds: [Igd; 2],
    hub: Hub,
    _lab: Lab,
}

impl Pair {
    fn new(name: &str, asked: Asked, more: &[&str]) -> Result<Self> {
        let lab = Lab::new(name)?;
        let mut hub = Hub::start(&lab, HUB)?;
        // One alone cannot show a hard NAT.
        hub.start_relays(2)?;
        let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        let node = |name: &str| -> Result<_> {
            let (node, igd) = hub.node_behind_igd(&lab, name, Nat::Symmetric, asked)?;
            assert_eq!(node.up(&hub, &key, more)?.trim(), "connected");
            Ok((node, igd))
        };
        let ((a, igd_a), (b, igd_b)) = (node("a")?, node("b")?);
        for node in [&a, &b] {
            wait_until(SOON, "its NAT to be known as hard", || {
                netcheck(node).is_ok_and(|said| said["nat"] == "hard")
            });
        }
        Ok(Self { a, b, igds: [igd_a, igd_b], hub, _lab: lab })
    }

    fn is_direct(&self) -> bool {
        let direct = |node: &MeshNode, other| node.peer(other).is_ok_and(|p| p["path"] == "direct");
        direct(&self.a, "b") && direct(&self.b, "a")
    }

    fn wait_for_mappings(&self, state: &str) {
        for node in [&self.a, &self.b] {
            wait_until(SOON, &format!("{}: a mapping that is {state}", node.name), || {
                netcheck(node).is_ok_and(|said| said["mapping"]["state"] == state)
            });
        }
    }

    fn stays_relayed(&self) -> Result<()> {
        let start = Instant::now();
        let pinger = Pinger::start(&self.a.host, &self.b.address()?, EVERY)?;
        while start.elapsed() < WATCHED {
            assert!(!self.is_direct(), "they cannot be direct");
            std::thread::sleep(Duration::from_millis(200));
        }
        pinger.wait_for_more(10, SOON)
    }
}

fn netcheck(node: &MeshNode) -> Result<Value> {
    Ok(serde_json::from_str(&node.nearwire(&["netcheck", "--json"])?)?)
}

fn two_hard_nats_meet(name: &str, asked: Asked, method: &str) -> Result<()> {
    let pair = Pair::new(name, asked, &[])?;
    let Pair { a, b, igds, .. } = &pair;
    pair.wait_for_mappings("granted");
    let said = netcheck(a)?["mapping"].clone();
    assert_eq!(said["method"], method, "{said}");
    let external = said["external"].as_str().context("where it is")?;
    assert!(external.starts_with("45.1.0.1:"), "{said}");
    assert!(igds.iter().all(|igd| igd.mapped().is_ok_and(|mapped| mapped == 1)));
    let pinger = Pinger::start(&a.host, &b.address()?, EVERY)?;
    wait_until(SOON, "a direct way", || pair.is_direct());
    pinger.wait_for_more(20, SOON)?;
    let lost = pinger.finish()?.lost();
    assert_eq!(lost, 0, "{lost} echoes were lost");
    // Named where it is used, if only by one end: the other may use what it has heard first.
    let said = [a.nearwire(&["explain", "b"])?, b.nearwire(&["explain", "a"])?].concat();
    assert!(said.contains("(mapped)"), "{said}");
    let metrics = format!("http://{}/metrics", MeshNode::METRICS);
    let metrics = a.host.run(["curl", "-sSf", &metrics])?.stdout;
    assert!(metrics.contains(&format!("nearwire_port_mapped{{method=\"{method}\"}} 1")));
    // What is needed no more is given back.
    a.nearwire(&["down"])?;
    assert_eq!(igds[0].mapped()?, 0);
    Ok(())
}

#[test]
fn two_hard_nats_meet_by_pcp() -> Result<()> {
    two_hard_nats_meet("mesh-pcp", Asked::Pcp, "PCP")
}

#[test]
fn two_hard_nats_meet_by_nat_pmp() -> Result<()> {
    two_hard_nats_meet("mesh-nat-pmp", Asked::NatPmp, "NAT-PMP")
}

#[test]
fn two_hard_nats_meet_by_upnp() -> Result<()> {
    two_hard_nats_meet("mesh-upnp", Asked::Upnp, "UPnP")
}

#[test]
fn a_router_that_refuses_is_named_and_the_relay_is_used() -> Result<()> {
    let pair = Pair::new("mesh-no-mapping", Asked::InVain, &[])?;
    pair.wait_for_mappings("refused");
    let said = pair.a.nearwire(&["netcheck"])?;
    assert!(said.contains("mapping   refused: the router refuses by"), "{said}");
    pair.stays_relayed()
}

#[test]
fn nobody_is_asked_where_that_is_not_wanted() -> Result<()> {
    let pair = Pair::new("mesh-unasked", Asked::Pcp, &["--no-port-mapping"])?;
    pair.stays_relayed()?;
    assert!(pair.igds.iter().all(|igd| igd.mapped().is_ok_and(|mapped| mapped == 0)));
    let said = netcheck(&pair.a)?["mapping"].clone();
    assert_eq!((&said["state"], said["asked"].as_u64()), (&"off".into(), Some(0)), "{said}");
    Ok(())
}

#[test]
fn a_router_that_has_forgotten_its_mappings_is_asked_anew() -> Result<()> {
    let mut pair = Pair::new("mesh-forgets", Asked::Pcp, &[])?;
    pair.wait_for_mappings("granted");
    let pinger = Pinger::start(&pair.a.host, &pair.b.address()?, EVERY)?;
    wait_until(SOON, "a direct way", || pair.is_direct());
    let [of_a, _] = &mut pair.igds;
    of_a.start_anew(&pair.hub)?;
    wait_until(SOON, "the new mapping", || {
        let said = netcheck(&pair.a).unwrap_or_default();
        let external = said["mapping"]["external"].as_str();
        external.is_some_and(|external| external.starts_with("45.1.0.77:"))
    });
    wait_until(SOON, "a direct way again", || pair.is_direct());
    pinger.wait_for_more(20, SOON)?;
    assert_eq!(pair.igds[0].mapped()?, 1);
    Ok(())
}

#[test]
fn a_daemon_that_was_killed_is_let_in_again() -> Result<()> {
    let mut pair = Pair::new("mesh-mapping-killed", Asked::Pcp, &[])?;
    pair.wait_for_mappings("granted");
    // It gives nothing back, and the router has still what it gave to another, for all it knows.
    pair.a.kill_daemon()?;
    pair.a.start_daemon()?;
    pair.wait_for_mappings("granted");
    let pinger = Pinger::start(&pair.a.host, &pair.b.address()?, EVERY)?;
    wait_until(SOON, "a direct way", || pair.is_direct());
    pinger.wait_for_more(20, SOON)
}
