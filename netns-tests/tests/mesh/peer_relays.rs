//! Nodes that relay for others of their network, by the policy's grant.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dataplane::{Allowance, LaneOptions, LaneSwitch, XdpMode};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat};
use netns_tests::{Host, Lab, Pinger, finish_checksums, wait_until};
use serde_json::Value;

const HUB: HubOptions = HubOptions { forwards: true, relay: true };
const EVERY: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);
/// Two nodes behind hard NATs, and one that may relay for them.
const GRANTED: &str = r#"{
    "tagOwners": { "tag:node": [], "tag:relay": [], "tag:other": [] },
    "acls": [{ "action": "accept", "src": ["tag:node", "tag:other"], "dst": ["tag:node:*"] }],
    "grants": [{ "src": ["tag:node"], "dst": ["tag:relay"], "app": { "nearwire/relay": [] } }],
}"#;
const NOT_GRANTED: &str = r#"{
    "tagOwners": { "tag:node": [], "tag:relay": [], "tag:other": [] },
    "acls": [{ "action": "accept", "src": ["tag:node", "tag:other"], "dst": ["tag:node:*"] }],
}"#;

/// A veth takes frames that have no buffer only where a program is that could look at them.
fn receiver(interface: &str) -> Result<LaneSwitch> {
    let answers = Some(Allowance::new(1, 1));
    let mut receiver = LaneSwitch::load(LaneOptions { capacity: 1, clients: 1, port: 1, answers })?;
    receiver.attach(interface, XdpMode::Driver)?;
    Ok(receiver)
}

struct Scene {
    a: MeshNode,
    b: MeshNode,
    relay: MeshNode,
    hub: Hub,
    lab: Lab,
    _routers: Vec<Host>,
    _receiver: LaneSwitch,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let hub = Hub::start(&lab, HUB)?;
        hub.policy(GRANTED)?;
        let (a, mut routers) = hub.node_behind(&lab, "a", Nat::Symmetric)?;
        let (b, of_b) = hub.node_behind(&lab, "b", Nat::Symmetric)?;
        routers.extend(of_b);
        let relay = hub.node(&lab, "r")?;
        let link = hub.link_of(&relay.host)?;
        let receiver = hub.host.enter(|| receiver(&link))??;
        let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        for node in [&a, &b] {
            // What rewrites packets at the relay's device would pass them on unfinished.
            finish_checksums(&node.host, "eth0")?;
            node.up(&hub, &key, &[])?;
        }
        let key = hub.auth_key(&["--reusable", "--tag", "tag:relay"])?;
        relay.up(&hub, &key, &["--peer-relay"])?;
        relay.wait_for("its part as a relay", |status| serves(status, 2));
        for (node, other) in [(&a, "b"), (&b, "a")] {
            node.wait_for("its peers and a home", |status| {
                let peers = status["peers"].as_array().into_iter().flatten();
                let names: Vec<_> = peers.filter_map(|peer| peer["name"].as_str()).collect();
                names.contains(&other) && names.contains(&"r") && !status["relay"].is_null()
            });
        }
        Ok(Self { a, b, relay, hub, lab, _routers: routers, _receiver: receiver })
    }

    fn pinger(&self) -> Result<Pinger> {
        Pinger::start(&self.a.host, &self.b.address()?, EVERY)
    }

    #[track_caller]
    fn wait_for_path(&self, path: &str) {
        let is = |node: &MeshNode, peer| node.peer(peer).is_ok_and(|peer| peer["path"] == path);
        wait_until(LONG, path, || is(&self.a, "b") && is(&self.b, "a"));
    }

    /// What the fleet's relay has carried, by whatever way.
    fn carried(&self) -> Result<f64> {
        let metrics = self.hub.relay_metrics()?;
        let count = |name: &str| -> Result<f64> {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name));
            Ok(value.context("a counter")?.trim().parse()?)
        };
        Ok(count("nearwire_relay_lane_packets_total ")?
            + count("nearwire_relay_packets_in_total ")?)
    }
}

/// Whether a node serves so many.
fn serves(status: &Value, nodes: u64) -> bool {
    let peer_relay = &status["peer_relay"];
    let switch = [&peer_relay["kernel"], &peer_relay["user_space"]];
    let is_started = switch.iter().any(|said| said.as_array().is_some_and(|said| !said.is_empty()));
    peer_relay["granted"] == nodes && is_started
}

#[test]
fn two_behind_hard_nats_speak_by_a_node_that_the_policy_makes_a_relay() -> Result<()> {
    let scene = Scene::new("mesh-peer-relay")?;
    let pinger = scene.pinger()?;
    scene.wait_for_path("peer-relay");
    assert_eq!(scene.a.peer("b")?["peer_relay"], "r");
    let said = scene.a.nearwire(&["explain", "b"])?;
    assert!(said.contains("b: peer relay r") && said.contains("in use"), "{said}");
    assert!(scene.a.nearwire(&["ping", "b", "--count", "1"])?.contains("by peer relay r"));

    // The kernel switches, and the fleet's relay has nothing to do.
    let before = scene.carried()?;
    pinger.wait_for_more(60, LONG)?;
    let after = scene.carried()?;
    assert!(after - before < 20.0, "{before} {after}");
    let status = scene.relay.status()?["peer_relay"].clone();
    assert!(status["kernel"].as_array().is_some_and(|kernel| !kernel.is_empty()), "{status}");
    assert!(status["packets"].as_u64() >= Some(100), "{status}");
    assert_eq!((&status["clients"], &status["lanes"]), (&2.into(), &1.into()));
    assert_eq!((&status["bound"], &status["refused"]["not_granted"]), (&2.into(), &0.into()));
    assert!(scene.relay.nearwire(&["status"])?.contains("switched by the kernel"));
    let url = format!("http://{}/metrics", MeshNode::METRICS);
    let page = scene.relay.host.run(["curl", "-sSf", &url])?.stdout;
    for line in [
        "nearwire_peer_relay_up 1",
        "nearwire_peer_relay_granted 2",
        "nearwire_peer_relay_clients 2",
        "nearwire_peer_relay_lane_ends_bound 2",
        "nearwire_peer_relay_switch{by=\"xdp\"} 1",
        "nearwire_peer_relay_refused_total{reason=\"not_granted\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    let count = |name: &str| {
        let value = page.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let packets = count("nearwire_peer_relay_packets_total ");
    let kernel = count("nearwire_peer_relay_kernel_packets_total ");
    assert!(packets >= Some(100) && kernel > Some(0) && kernel <= packets, "{page}");
    // Who does not relay has nothing of it.
    let other = scene.a.host.run(["curl", "-sSf", &url])?.stdout;
    assert!(!other.contains("peer_relay_"), "{other}");

    // Who is not in the grant hears of no relay.
    let other = scene.hub.node(&scene.lab, "o")?;
    let key = scene.hub.auth_key(&["--tag", "tag:other"])?;
    other.up(&scene.hub, &key, &[])?;
    other.wait_for("its peers", |status| status["peers"].as_array().is_some_and(|p| p.len() == 2));
    assert!(other.peer("r")?.is_null());
    assert_eq!(pinger.finish()?.lost(), 0);
    Ok(())
}

#[test]
fn a_grant_that_is_taken_back_ends_it_without_a_loss() -> Result<()> {
    let scene = Scene::new("mesh-peer-relay-grant")?;
    let pinger = scene.pinger()?;
    scene.wait_for_path("peer-relay");
    for _ in 0..2 {
        scene.hub.policy(NOT_GRANTED)?;
        scene.wait_for_path("relay");
        scene.relay.wait_for("nobody to serve", |status| status["peer_relay"]["granted"] == 0);
        assert!(scene.relay.nearwire(&["status"])?.contains("for nobody"));
        wait_until(LONG, "it knows them no more", || {
            scene.relay.status().is_ok_and(|status| status["peers"] == Value::Array(Vec::new()))
        });
        pinger.wait_for_more(20, LONG)?;
        scene.hub.policy(GRANTED)?;
        scene.wait_for_path("peer-relay");
    }
    // The node's own consent counts as much.
    let (url, ca) = (scene.hub.url(), scene.hub.ca());
    scene.relay.nearwire(&["up", "--control", &url, "--ca", &ca, "--hostname", "r"])?;
    scene.wait_for_path("relay");
    pinger.wait_for_more(20, LONG)?;
    assert_eq!(pinger.finish()?.lost(), 0);
    Ok(())
}

#[test]
fn a_node_that_relays_is_the_only_way_where_the_policy_says_so() -> Result<()> {
    let scene = Scene::new("mesh-peer-relay-only")?;
    let only = |text: &str| {
        let paths = r#"{ "src": ["tag:node"], "dst": ["tag:node"], "use": ["peer-relay"] }"#;
        text.replacen('{', &format!("{{ \"paths\": [{paths}],"), 1)
    };
    let pinger = scene.pinger()?;
    scene.wait_for_path("peer-relay");
    scene.hub.policy(&only(GRANTED))?;
    pinger.wait_for_more(20, LONG)?;
    scene.wait_for_path("peer-relay");
    // Without one there is no way, though a relay is there; and one is found without a packet by that.
    scene.hub.policy(&only(NOT_GRANTED))?;
    scene.wait_for_path("none");
    scene.hub.policy(&only(GRANTED))?;
    scene.wait_for_path("peer-relay");
    pinger.wait_for_more(20, LONG)?;
    let forbidden = only(GRANTED).replace("\"peer-relay\"", "\"direct\", \"relay\"");
    scene.hub.policy(&forbidden)?;
    scene.wait_for_path("relay");
    pinger.wait_for_more(20, LONG)?;
    Ok(())
}

#[test]
fn a_relay_that_dies_costs_what_was_under_way() -> Result<()> {
    let mut scene = Scene::new("mesh-peer-relay-dies")?;
    let pinger = scene.pinger()?;
    scene.wait_for_path("peer-relay");
    pinger.wait_for_more(20, LONG)?;
    let since = Instant::now();
    scene.relay.kill_daemon()?;
    pinger.wait_for_more(5, LONG)?;
    let back = since.elapsed();
    scene.wait_for_path("relay");
    pinger.wait_for_more(20, LONG)?;
    scene.relay.start_daemon()?;
    scene.wait_for_path("peer-relay");
    pinger.wait_for_more(20, LONG)?;
    let lost = pinger.finish()?.lost();
    // Noticed after a quarter of a second; the rest is for a busy machine.
    println!("{lost} echoes lost, five came within {back:?}");
    assert!(lost < 60, "{lost}");
    Ok(())
}
