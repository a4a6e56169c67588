//! What a node says of its host's network.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat, SharedCarrier};
use netns_tests::{Lab, wait_until};
use serde_json::{Value, json};

const HUB: HubOptions = HubOptions { forwards: true, relay: true };
const SOON: Duration = Duration::from_secs(60);

fn scene(name: &str) -> Result<(Lab, Hub, String)> {
    let lab = Lab::new(name)?;
    let mut hub = Hub::start(&lab, HUB)?;
    // One alone cannot show a hard NAT.
    hub.start_relays(2)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    Ok((lab, hub, key))
}

fn netcheck(node: &MeshNode) -> Result<Value> {
    Ok(serde_json::from_str(&node.nearwire(&["netcheck", "--json"])?)?)
}

/// Waits until it says all of this.
#[track_caller]
fn wait_for(node: &MeshNode, expected: &Value) {
    let mut said = Value::Null;
    wait_until(SOON, &format!("{}: {expected}", node.name), || {
        said = netcheck(node).unwrap_or_default();
        println!("{}: {said}", node.name);
        let expected = expected.as_object().into_iter().flatten();
        expected.into_iter().all(|(field, value)| said.get(field) == Some(value))
    });
}

#[test]
fn it_says_what_each_nat_does() -> Result<()> {
    let (lab, hub, key) = scene("mesh-netcheck")?;
    let unknown = |udp: bool, nat: &str, hairpin: &str| {
        json!({
            "udp": udp, "v4": udp, "v6": false, "nat": nat, "filtering": "unknown",
            "hairpin": hairpin, "control": "connected", "captive_portal": "no",
        })
    };
    for (number, (nat, expected)) in [
        (
            Nat::None,
            json!({ "udp": true, "nat": "none", "filtering": "none", "hairpin": "unneeded" }),
        ),
        (Nat::PortRestricted, unknown(true, "easy", "no")),
        (Nat::Symmetric, unknown(true, "hard", "unknown")),
        (Nat::NoUdp, unknown(false, "unknown", "unknown")),
    ]
    .into_iter()
    .enumerate()
    {
        let (node, _routers) = hub.node_behind(&lab, &format!("n{number}"), nat)?;
        node.up(&hub, &key, &[])?;
        wait_for(&node, &expected);
        let said = netcheck(&node)?;
        let regions = said["regions"].as_array().context("regions")?;
        let answer = regions.iter().filter(|region| region["rtt_ms"].is_number()).count();
        assert_eq!(answer, if nat == Nat::NoUdp { 0 } else { 2 }, "{said}");
        // Nobody maps ports here.
        let mapping = if nat == Nat::None { "unasked" } else { "none" };
        wait_until(SOON, "the router's silence", || {
            netcheck(&node).is_ok_and(|said| said["mapping"]["state"] == mapping)
        });
    }
    Ok(())
}

#[test]
fn a_router_that_brings_back_what_is_sent_to_itself_shows_whom_it_lets_in() -> Result<()> {
    let (lab, hub, key) = scene("mesh-hairpin")?;
    let ([a, _b], _routers) = hub.nodes_at_one_carrier(&lab, ["a", "b"], SharedCarrier::Hairpin)?;
    a.up(&hub, &key, &[])?;
    wait_for(&a, &json!({ "nat": "easy", "hairpin": "yes", "filtering": "closed" }));
    let (open, routers) = hub.node_behind(&lab, "open", Nat::FullCone)?;
    let outside = routers[0].link_to("10.255.0.1")?;
    routers[0].run([
        "nft",
        &format!(
            "table ip back {{ \
        chain in {{ type nat hook prerouting priority -101; \
            iifname != {outside} ip daddr 10.2.0.1 dnat to 192.168.1.2; }}; \
        chain hides {{ type nat hook postrouting priority 90; \
            iifname != {outside} oifname != {outside} snat to 10.2.0.1; }}; }}"
        ),
    ])?;
    open.up(&hub, &key, &[])?;
    wait_for(
        &open,
        &json!({ "nat": "easy", "hairpin": "yes", "filtering": "endpoint-independent" }),
    );
    Ok(())
}

#[test]
fn a_relay_with_two_addresses_shows_what_a_nat_does() -> Result<()> {
    let lab = Lab::new("mesh-behaviour")?;
    let mut hub = Hub::start(&lab, HubOptions { relay: false, ..HUB })?;
    hub.start_relay_with_second_address()?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    let (all, ip, both) =
        ("endpoint-independent", "address-dependent", "address-and-port-dependent");
    for (number, (nat, kind, mapping, filtering)) in [
        (Nat::FullCone, "easy", all, all),
        (Nat::Restricted, "easy", all, ip),
        (Nat::PortRestricted, "easy", all, both),
        (Nat::Symmetric, "hard", both, both),
    ]
    .into_iter()
    .enumerate()
    {
        let (node, _routers) = hub.node_behind(&lab, &format!("n{number}"), nat)?;
        assert_eq!(discovered(&node)?, [mapping, filtering], "coturn's, of {}", nat.name());
        node.up(&hub, &key, &[])?;
        wait_for(&node, &json!({ "nat": kind, "nat_mapping": mapping, "filtering": filtering }));
        let said = node.nearwire(&["netcheck"])?;
        assert!(said.contains(&format!("NAT       {kind} (mapping {mapping})")), "{said}");
        assert!(said.contains(&format!("filtering {filtering}\n")), "{said}");
        if nat == Nat::Symmetric {
            // A second address that somebody's firewall mutes shows nothing, and is not taken to.
            hub.host.run([
                "nft",
                "table ip mute { \
                    chain out { type filter hook output priority 0; udp sport 3479 drop; }; }",
            ])?;
            wait_for(&node, &json!({ "nat_mapping": "unknown", "filtering": "unknown" }));
        }
    }
    Ok(())
}

/// What coturn's client finds out of the NAT's mapping and filtering.
fn discovered(node: &MeshNode) -> Result<[String; 2]> {
    let words = ["turnutils_natdiscovery", "-m", "-f", "-L", "192.168.1.2", "10.255.0.1"];
    let output = node.host.run(words)?;
    let said = output.stdout + &output.stderr;
    let verdict = |what: &str| {
        // The last one counts: before there are others, of single answers.
        let verdict = said.lines().rev().find(|line| line.contains(&format!("{what}!")));
        let verdict = verdict.with_context(|| format!("no {what} in {said}"))?;
        let words = verdict.trim_start_matches("NAT with ").trim_end_matches('!');
        let words = words.trim_end_matches(what).trim().to_lowercase();
        anyhow::Ok(words.replace(' ', "-"))
    };
    Ok([verdict("Mapping")?, verdict("Filtering")?])
}

#[test]
fn a_portal_that_answers_in_place_of_the_world_is_named() -> Result<()> {
    let (lab, mut hub, key) = scene("mesh-portal")?;
    let (node, routers) = hub.node_behind(&lab, "a", Nat::PortRestricted)?;
    node.up(&hub, &key, &[])?;
    wait_for(&node, &json!({ "captive_portal": "no", "control": "connected" }));
    hub.stop_control();
    wait_until(SOON, "the control plane's absence", || {
        netcheck(&node).is_ok_and(|said| said["control"] != "connected")
    });
    wait_for(&node, &json!({ "captive_portal": "unknown" }));
    let portal = routers[0].enter(|| TcpListener::bind("0.0.0.0:8080"))??;
    std::thread::spawn(move || -> Result<()> {
        for stream in portal.incoming() {
            let mut stream = stream?;
            let _ = stream.read(&mut [0; 1024])?;
            stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login.test/now\r\n\r\n")?;
        }
        Ok(())
    });
    let outside = routers[0].link_to("10.255.0.1")?;
    routers[0].run([
        "nft",
        &format!(
            "table ip portal {{ \
        chain in {{ type nat hook prerouting priority -101; \
            iifname != {outside} tcp dport 80 redirect to :8080; }}; }}"
        ),
    ])?;
    wait_for(&node, &json!({ "captive_portal": "yes", "portal_url": "http://login.test/now" }));
    let said = node.nearwire(&["netcheck"])?;
    assert!(said.contains("portal    yes: http://login.test/now"), "{said}");
    Ok(())
}
