//! Each kind of rule, met by real packets: names resolved by a file of nodes, grants, denials,
//! protocols by number.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use dataplane_common::DropReason;
use netns_tests::wait_until;
use netns_tests::wireguard::Tunnel;

use crate::packets::{SERVER, v4, v4_from};
use crate::scene::{PolicyFile, SOON, Scene, dropped, listen, nearwire, reach, status};

/// The client is alice's, the server is there for the web.
const NODES: &str = r#"{ "nodes": [
  { "name": "laptop", "user": "alice@example.com", "addresses": ["10.9.0.1", "fd09::1"] },
  { "name": "web1", "tags": ["tag:web"], "addresses": ["10.9.0.2", "fd09::2"], "routes": ["10.8.0.0/24"] },
] }"#;

/// Both are alice's.
const ALICES: &str = r#"{ "nodes": [
  { "name": "laptop", "user": "alice@example.com", "addresses": ["10.9.0.1", "fd09::1"] },
  { "name": "web1", "user": "alice@example.com", "addresses": ["10.9.0.2", "fd09::2"] },
] }"#;

/// Chunks of SCTP (RFC 9260, section 3.2).
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;
const SHUTDOWN_COMPLETE: u8 = 14;

/// An SCTP packet between these ports, with a chunk of this type: ports, tag, checksum, chunk.
fn sctp((from, to): (u16, u16), chunk: u8) -> Vec<u8> {
    let mut packet = from.to_be_bytes().to_vec();
    packet.extend(to.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([chunk, 0, 0, 20]);
    packet.extend([0; 16]);
    packet
}

const DEFINED: &str = r#"
  "groups": { "group:dev": ["alice@example.com"], "group:ops": ["bob@example.com"] },
  "tagOwners": { "tag:web": ["group:dev"], "tag:db": ["group:ops"] },
  "hosts": { "server": "10.9.0.2", "elsewhere": "10.9.0.77" },
"#;

/// The addresses that the client tries. A name means a node's own addresses, not the network behind it.
const TRIED: [&str; 5] =
    ["10.9.0.2:80", "10.9.0.2:81", "[fd09::2]:80", "10.8.0.1:80", "8.8.8.8:80"];

fn acl(source: &str, destination: &str) -> String {
    format!(r#"{{ "action": "accept", "src": ["{source}"], "dst": ["{destination}"] }},"#)
}

/// Rules of `acls`, rules of `grants`, and which of [`TRIED`] they let through.
fn cases() -> Vec<(&'static str, String, &'static str, [bool; 5])> {
    let (yes, no) = (true, false);
    vec![
        ("group to tag", acl("group:dev", "tag:web:80"), "", [yes, no, yes, no, no]),
        ("another group", acl("group:ops", "tag:web:80"), "", [no; 5]),
        ("another tag", acl("group:dev", "tag:db:80"), "", [no; 5]),
        ("user to host", acl("alice@example.com", "server:80"), "", [yes, no, no, no, no]),
        ("another host", acl("alice@example.com", "elsewhere:80"), "", [no; 5]),
        (
            "member to tagged",
            acl("autogroup:member", "autogroup:tagged:*"),
            "",
            [yes, yes, yes, no, no],
        ),
        ("the network behind it", acl("*", "10.8.0.0/24:80"), "", [no, no, no, yes, no]),
        ("a range", acl("10.9.0.0-10.9.0.9", "10.9.0.2:80-81"), "", [yes, yes, no, no, no]),
        (
            "the internet",
            acl("autogroup:member", "autogroup:internet:*"),
            "",
            [no, no, no, no, yes],
        ),
        (
            "a grant",
            String::new(),
            r#"{ "src": ["group:dev"], "dst": ["tag:web"], "ip": ["tcp:81", "udp:53"] },"#,
            [no, yes, no, no, no],
        ),
        (
            "a denial of a part",
            format!(
                r#"{} {{ "action": "deny", "src": ["group:dev"], "dst": ["server:81"] }},"#,
                acl("*", "*:*")
            ),
            "",
            [yes, no, yes, yes, yes],
        ),
    ]
}

fn document(acls: &str, grants: &str) -> String {
    format!("{{ {DEFINED} \"acls\": [ {acls} ], \"grants\": [ {grants} ] }}")
}

/// The server with a network behind it and an address of the internet, listening everywhere.
fn listeners(scene: &Scene, client: &Tunnel<'_>) -> Result<Vec<TcpListener>> {
    for address in ["10.8.0.1/32", "8.8.8.8/32"] {
        scene.server.ip(["address", "add", address, "dev", "lo"])?;
        scene.client.ip(["route", "add", address, "dev", client.name()])?;
    }
    TRIED.iter().map(|address| listen(&scene.server, address)).collect()
}

fn apply(server: &Tunnel<'_>, policy: &PolicyFile, nodes: &PolicyFile) -> Result<()> {
    let words = ["policy", "apply", server.name(), policy.path(), "--nodes", nodes.path()];
    let applied = nearwire(server.host(), &words)?;
    anyhow::ensure!(applied.status.success(), "{}", applied.stderr);
    Ok(())
}

#[test]
fn every_kind_of_name_and_rule() -> Result<()> {
    let scene = Scene::new("kinds")?;
    let policy = PolicyFile::new("kinds", &document("", ""))?;
    let nodes = PolicyFile::new("kinds-nodes", NODES)?;
    let (client, server) =
        scene.tunnels_with(&policy, |server| server.arg("--nodes").arg(nodes.path()))?;
    let _listeners = listeners(&scene, &client)?;
    for (name, acls, grants, expected) in cases() {
        policy.write(&document(&acls, grants))?;
        apply(&server, &policy, &nodes)?;
        // Side by side: what is refused takes its time.
        let reached = std::thread::scope(|scope| {
            let client = &scene.client;
            let tries = TRIED.map(|address| scope.spawn(move || reach(client, address)));
            tries.map(|tried| tried.join().expect("no panic"))
        });
        assert_eq!(reached, expected, "{name}");
    }
    // A user's devices among each other: these two are not one user's, then they are.
    policy.write(&document(&acl("autogroup:member", "autogroup:self:80"), ""))?;
    apply(&server, &policy, &nodes)?;
    assert!(!reach(&scene.client, TRIED[0]));
    nodes.write(ALICES)?;
    apply(&server, &policy, &nodes)?;
    assert!(reach(&scene.client, TRIED[0]) && !reach(&scene.client, TRIED[1]));
    Ok(())
}

#[test]
fn protocols_by_name_and_by_number() -> Result<()> {
    let scene = Scene::new("protocols")?;
    let rules = r#"{ "acls": [
      { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:*"], "proto": "gre" },
      { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:*"], "proto": "99" },
      { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:7777"], "proto": "sctp" },
    ] }"#;
    let policy = PolicyFile::new("protocols", rules)?;
    let (client, server) = scene.tunnels(&policy)?;
    let counted = |rule: usize| -> Result<u64> {
        status(&server)?["rules"][rule]["packets"].as_u64().context("no counter")
    };
    let init = |port| v4(132, 0, &sctp((12345, port), INIT));
    for (rule, packet) in [(0, v4(47, 0, &[0; 8])), (1, v4(99, 0, &[0; 8])), (2, init(7777))] {
        scene.client.send_raw(client.name(), &packet)?;
        // The host's answer, that it does not speak the protocol, is of the same flow.
        wait_until(SOON, "the rule's counter", || counted(rule).is_ok_and(|packets| packets > 0));
    }
    for packet in [v4(50, 0, &[0; 8]), init(7778)] {
        let before = dropped(&server, DropReason::PolicyNoRule);
        scene.client.send_raw(client.name(), &packet)?;
        wait_until(SOON, "a drop", || dropped(&server, DropReason::PolicyNoRule) > before);
    }
    Ok(())
}

#[test]
fn an_sctp_association_is_followed_to_its_end() -> Result<()> {
    let scene = Scene::new("sctp")?;
    let rules = r#"{ "acls": [
      { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:7777"], "proto": "sctp" },
    ] }"#;
    let policy = PolicyFile::new("sctp", rules)?;
    let (client, server) = scene.tunnels(&policy)?;
    let forth = |chunk| -> Result<()> {
        let packet = v4(132, 0, &sctp((12345, 7777), chunk));
        scene.client.send_raw(client.name(), &packet)
    };
    let back = |chunk| -> Result<()> {
        let packet = v4_from(SERVER, 132, 0, &sctp((7777, 12345), chunk));
        scene.server.send_raw(server.name(), &packet)
    };
    let counted = || -> Option<[u64; 2]> {
        let shown = nearwire(&scene.server, &["flows", server.name(), "--json"]).ok()?;
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).ok()?;
        let flows = shown["flows"].as_array()?;
        let flow = flows.iter().find(|flow| flow["protocol"] == "sctp")?;
        Some([flow["received"]["packets"].as_u64()?, flow["sent"]["packets"].as_u64()?])
    };
    let not_opened = |send: &dyn Fn() -> Result<()>, what: &str| -> Result<()> {
        let before = dropped(&server, DropReason::PolicyNoSyn);
        send()?;
        wait_until(SOON, what, || dropped(&server, DropReason::PolicyNoSyn) > before);
        Ok(())
    };
    not_opened(&|| forth(DATA), "data of no association")?;
    not_opened(&|| forth(COOKIE_ECHO), "a cookie of no association")?;
    forth(INIT)?;
    wait_until(SOON, "INIT", || counted() == Some([1, 0]));
    back(INIT_ACK)?;
    forth(COOKIE_ECHO)?;
    forth(DATA)?;
    back(DATA)?;
    wait_until(SOON, "an association", || counted() == Some([3, 2]));
    // It is over, and what was late passes for some seconds; a list of open flows has it no more.
    back(SHUTDOWN_COMPLETE)?;
    wait_until(SOON, "the end", || counted().is_none());
    Ok(())
}

#[test]
fn a_node_enforces_what_concerns_it() -> Result<()> {
    let scene = Scene::new("node")?;
    let rules = document(&(acl("group:dev", "tag:web:80") + &acl("group:ops", "elsewhere:22")), "");
    let policy = PolicyFile::new("node", &rules)?;
    let nodes = PolicyFile::new("node-nodes", NODES)?;
    let (_client, server) = scene.tunnels_with(&policy, |server| {
        server.arg("--nodes").arg(nodes.path()).arg("--node").arg("web1")
    })?;
    let shown = status(&server)?;
    assert_eq!(shown["node"], "web1");
    assert_eq!(shown["rules"].as_array().map(Vec::len), Some(1), "{shown}");
    let _web = listen(&scene.server, "10.9.0.2:80")?;
    assert!(reach(&scene.client, "10.9.0.2:80"));

    let words = ["wg", "nw-nobody", "--policy", policy.path(), "--nodes", nodes.path()];
    let refused = nearwire(&scene.server, &[&words[..], &["--node", "nobody"]].concat())?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    Ok(())
}
