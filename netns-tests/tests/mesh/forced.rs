//! Paths that the network's policy forces and forbids.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hub, HubOptions, MeshNode};
use netns_tests::{Host, Pinger, ping, wait_until};
use serde_json::{Value, json};

use crate::scene::{RELAYED, Scene};

/// Nodes reach each other directly and by a relay.
const BOTH: HubOptions = HubOptions { forwards: true, relay: true };
const LONG: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(20);

fn allow(hub: &Hub, kinds: &str) -> Result<()> {
    let paths = r#"{ "src": ["tag:node"], "dst": ["tag:node"], "use": "#;
    let paths = if kinds.is_empty() { String::new() } else { format!("{paths} [\"{kinds}\"] }}") };
    hub.policy(&format!(
        r#"{{ "tagOwners": {{ "tag:node": [] }}, "paths": [{paths}],
            "acls": [{{ "action": "accept", "src": ["*"], "dst": ["*:*"] }}] }}"#
    ))
}

/// Counts what the hub forwards from node to node: what the relay carries is for the hub itself.
fn count_between(hub: &Host) -> Result<()> {
    let table = "table inet between { counter passed { }; \
         chain forward { type filter hook forward priority 0; counter name passed; }; }";
    hub.run(["nft", table])?;
    Ok(())
}

fn between(hub: &Host) -> Result<u64> {
    let listed = hub.run(["nft", "-j", "list", "counter", "inet", "between", "passed"])?.stdout;
    let listed: Value = serde_json::from_str(&listed)?;
    let counters = listed["nftables"].as_array().context("no counters")?;
    let counter = counters.iter().find_map(|item| item.get("counter"));
    counter.and_then(|counter| counter["packets"].as_u64()).context("no packets")
}

fn carried(hub: &Hub) -> Result<f64> {
    let metrics = hub.relay_metrics()?;
    let names = ["nearwire_relay_lane_packets_total ", "nearwire_relay_packets_in_total "];
    let counts = names.map(|name| metrics.lines().find_map(|line| line.strip_prefix(name)));
    Ok(counts.into_iter().flatten().map(|count| count.trim().parse().unwrap_or(0.0)).sum())
}

#[track_caller]
fn wait_for_both(nodes: [(&MeshNode, &str); 2], path: &str) {
    wait_until(LONG, path, || {
        nodes.iter().all(|(node, peer)| node.peer(peer).is_ok_and(|peer| peer["path"] == path))
    });
}

#[test]
fn packets_go_by_the_relay_alone_while_the_policy_says_so_and_none_is_lost() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-forced-relay", BOTH)?;
    let nodes = [(&a, "b"), (&b, "a")];
    ping(&a.host, &b.address()?)?;
    let pinger = Pinger::start(&a.host, &b.address()?, EVERY)?;
    wait_for_both(nodes, "direct");
    count_between(&hub.host)?;
    for _ in 0..2 {
        let forced = Instant::now();
        allow(&hub, "relay")?;
        wait_for_both(nodes, "relay");
        println!("both by the relay after {:?}", forced.elapsed());
        // What was under way has arrived.
        pinger.wait_for_more(10, LONG)?;
        let (direct, relayed) = (between(&hub.host)?, carried(&hub)?);
        pinger.wait_for_more(100, LONG)?;
        assert_eq!(between(&hub.host)?, direct, "no packet, no probe goes from node to node");
        assert!(carried(&hub)? - relayed >= 190.0, "{relayed} {}", carried(&hub)?);
        let said = a.nearwire(&["explain", "b"])?;
        assert!(said.contains("relay only, by the network's policy"), "{said}");
        let said: Value = a.nearwire(&["explain", "b", "--json"])?.parse()?;
        assert_eq!((&said["path"], &said["allowed"]), (&json!("relay"), &json!(["relay"])));
        let routes = said["routes"].as_array().context("routes")?;
        assert!(routes.iter().all(|route| route["verdict"] == "forbidden by the network's policy"));
        let said = a.nearwire(&["ping", "b", "--count", "1"])?;
        assert!(said.contains("(relay only, by the network's policy)"), "{said}");
        allow(&hub, "")?;
        wait_for_both(nodes, "direct");
        assert!(a.peer("b")?["limited"].is_null());
    }
    assert_eq!(pinger.finish()?.lost(), 0);
    Ok(())
}

#[test]
fn where_no_allowed_path_is_packets_are_dropped_and_that_is_named() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-forced-direct", RELAYED)?;
    let nodes = [(&a, "b"), (&b, "a")];
    ping(&a.host, &b.address()?)?;
    let pinger = Pinger::start(&a.host, &b.address()?, EVERY)?;
    wait_for_both(nodes, "relay");
    allow(&hub, "direct")?;
    wait_for_both(nodes, "none");
    let explained = || -> Result<Value> { Ok(a.nearwire(&["explain", "b", "--json"])?.parse()?) };
    wait_until(LONG, "dropped packets", || {
        explained().is_ok_and(|said| said["stuck"].as_u64() > Some(0))
    });
    let answered = pinger.answered();
    assert_eq!(explained()?["limited"], "direct only, by the network's policy");
    let said = a.nearwire(&["explain", "b"])?;
    assert!(said.contains("none (direct only, by the network's policy)"), "{said}");
    assert!(said.contains("dropped for want of a way that is allowed"), "{said}");
    assert_eq!(pinger.answered(), answered, "nothing passes");
    // The relay brings them together, and carries no packet of theirs.
    hub.host.sysctl("net.ipv4.ip_forward", "1")?;
    wait_for_both(nodes, "direct");
    pinger.wait_for_more(10, LONG)?;
    hub.host.sysctl("net.ipv4.ip_forward", "0")?;
    wait_for_both(nodes, "none");
    allow(&hub, "")?;
    wait_for_both(nodes, "relay");
    pinger.wait_for_more(10, LONG)?;
    Ok(())
}
