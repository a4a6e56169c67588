//! Enrolment, and what the policy lets pass.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::Hub;
use netns_tests::{Lab, Pinger, answers, ping, wait_until};
use serde_json::Value;

use crate::scene::{DIRECT, RELAYED, Scene, cut_after};

const BRIEFLY: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn two_nodes_enrol_and_reach_each_other_by_address_as_far_as_the_policy_goes() -> Result<()> {
    let Scene { a, b, hub, lab } = Scene::new("mesh-policy", DIRECT)?;
    let (at_a, at_b) = (a.address()?, b.address()?);
    ping(&a.host, &at_b)?;
    ping(&b.host, &at_a)?;
    a.wait_for_path("b", "direct");
    assert!(a.nearwire(&["ping", "b", "--count", "1"])?.contains("by direct"));
    assert!(a.nearwire(&["peers", "count"])?.starts_with("1 peers, 1 direct"));
    assert!(a.nearwire(&["peers", "get", "b", "--json"])?.contains(&at_b));
    assert_eq!(a.output(&["peers", "get", "nobody"])?.status.code(), Some(1));
    let json = |words: &[&str]| -> Result<Value> { Ok(a.nearwire(words)?.parse()?) };
    assert_eq!(json(&["peers", "count", "--json"])?["direct"], 1);
    let listed = json(&["peers", "list", "--json"])?;
    assert_eq!(
        (listed[0]["name"].as_str(), listed[0]["path"].as_str()),
        (Some("b"), Some("direct"))
    );
    // A line each, with what is known: not a dash.
    for words in [&["status"][..], &["peers", "list"]] {
        let shown = a.nearwire(words)?;
        let line = shown.lines().find(|line| line.starts_with("b ")).context("a line of b")?;
        let columns: Vec<&str> =
            line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(columns.len(), 7, "{line}");
        assert!(columns[1] == at_b && columns[2].starts_with("direct"), "{line}");
        assert!(columns[3].ends_with('s') && columns[4].ends_with("ms"), "{line}");
        assert!(columns[5..].iter().all(|bytes| bytes.ends_with('B') && *bytes != "0 B"), "{line}");
    }
    assert!(a.nearwire(&["status"])?.starts_with("connected"));

    // A change is felt while packets flow, and both ways.
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    hub.policy(
        r#"{ "acls": [
        { "action": "accept", "src": ["*"], "dst": ["*:22"], "proto": "tcp" },
    ] }"#,
    )?;
    let before = pinger.answered();
    a.wait_for("the new filter", |status| status["generation"].as_u64() > Some(1));
    wait_until(Duration::from_secs(5), "denial", || {
        answers(&a.host, &at_b, Duration::from_millis(300)).is_ok_and(|answered| !answered)
    });
    assert!(pinger.answered() >= before);
    drop(pinger);
    let unanswered = a.output(&["ping", "b", "--count", "1", "--json"])?;
    assert_eq!(unanswered.status.code(), Some(1), "{}", unanswered.stdout);
    assert!(unanswered.stdout.lines().all(|line| line.parse::<Value>().is_ok()));
    hub.policy(r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#)?;
    wait_until(Duration::from_secs(10), "a grant", || {
        answers(&a.host, &at_b, BRIEFLY).unwrap_or(false)
    });

    // Who may reach nobody hears of nobody.
    let stranger = hub.node(&lab, "c")?;
    hub.policy(
        r#"{ "tagOwners": { "tag:node": ["u@example.com"], "tag:other": ["u@example.com"] },
        "acls": [{ "action": "accept", "src": ["tag:node"], "dst": ["tag:node:*"] }] }"#,
    )?;
    let key = hub.auth_key(&["--tag", "tag:other"])?;
    stranger.up(&hub, &key, &[])?;
    assert_eq!(stranger.status()?["peers"], serde_json::json!([]));
    let refused = stranger.output(&[
        "up",
        "--control",
        &hub.url(),
        "--ca",
        &hub.ca(),
        "--auth-key",
        "nwk_no",
    ])?;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    Ok(())
}

#[test]
fn a_node_explains_its_policy_by_names_to_who_names_no_interface() -> Result<()> {
    let lab = Lab::new("mesh-explain")?;
    let hub = Hub::start(&lab, DIRECT)?;
    let (mut a, b) = (hub.node(&lab, "a")?, hub.node(&lab, "b")?);
    a.stop_daemon();
    a.alone = true;
    a.start_daemon()?;
    hub.policy(SSH)?;
    let key = hub.auth_key(&["--reusable", "--user", "u@example.com"])?;
    for node in [&a, &b] {
        node.up(&hub, &key, &[])?;
    }
    a.wait_for("b as a peer", |status| status["peers"][0]["name"] == "b");
    let (at_a, at_b) = (a.address()?, b.address()?);
    let explained = a.nearwire(&["policy", "explain", "--live", "a", "b:22"])?;
    let flow = format!("a ({at_a}) -> b ({at_b}) tcp 22: accepted");
    assert!(explained.contains(&flow), "{explained}");
    let denied = a.nearwire(&["policy", "explain", "--live", &at_b, "a.home.mesh/icmp"])?;
    assert!(denied.contains(&format!("b ({at_b}) -> a ({at_a}) icmp: denied")), "{denied}");
    for (whom, why) in [("c:22", "peers list"), ("u@example.com:22", "name a node")] {
        let refused = a.output(&["policy", "explain", "--live", "a", whom])?;
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }

    // A name that changes is known, and changes nothing else.
    let generation = |status: &Value| status["generation"].as_u64();
    let before = generation(&a.status()?);
    hub.admin(&["nodes", "rename", "home", &b.id()?, "web"])?;
    a.wait_for("the name", |status| status["peers"][0]["name"] == "web");
    assert!(a.nearwire(&["policy", "explain", "--live", "a", "web:22"])?.contains("-> web ("));
    assert_eq!(generation(&a.status()?), before);
    Ok(())
}

#[test]
fn a_node_names_its_rules_by_line_and_text_and_hears_of_no_others() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-rules", DIRECT)?;
    let interface = a.interface.as_str();
    let rules = || -> Result<Value> {
        let status = a.nearwire(&["policy", "status", interface, "--json"])?;
        Ok(status.parse::<Value>()?["rules"].take())
    };
    let generation = || a.status().map(|status| status["generation"].as_u64());
    let told = |line: u32| {
        let is_it = |rule: &Value| (&rule["line"], &rule["rule"]) == (&line.into(), &NODES.into());
        rules().is_ok_and(|rules| rules.as_array().is_some_and(|r| r.len() == 1 && is_it(&r[0])))
    };
    let before = generation()?;
    hub.policy(&rules_of_nodes_and_others(""))?;
    wait_until(SOON, "the node's own rule", || told(5));
    assert!(generation()? > before);

    // What is decided is told by it.
    let at_b = b.address()?;
    let explain = ["policy", "explain", "--live", interface, "a", "b:22"];
    let explained = a.nearwire(&explain)?;
    assert!(explained.contains(&format!("by the rule on line 5: {NODES}\n")), "{explained}");
    let follower = a.spawn(&["flows", interface, "--follow", "--json"])?;
    let people = a.spawn(&["flows", interface, "--follow"])?;
    let ssh = format!("{at_b}:22").parse()?;
    wait_until(SOON, "a flow, with its rule", || {
        // Nobody listens, which is told by a reset: the flow was opened.
        let _ = a.host.enter(|| TcpStream::connect_timeout(&ssh, BRIEFLY));
        let followed = follower.stdout_so_far();
        let mut records = followed.lines().filter_map(|line| line.parse::<Value>().ok());
        records.any(|it| (&it["rule_line"], &it["rule"]) == (&5.into(), &NODES.into()))
            && people.stdout_so_far().contains(&format!("line 5: {NODES}"))
    });

    // A rule that only stands elsewhere is told as such, and nothing is put in force for it.
    let before = generation()?;
    hub.policy(&rules_of_nodes_and_others("// Nobody else gets in.\n"))?;
    wait_until(SOON, "the rule's other line", || told(6));
    assert_eq!(generation()?, before);
    assert!(a.nearwire(&explain)?.contains("by the rule on line 6: {"));
    Ok(())
}

/// A rule of nodes with a tag, on the fifth line and the next, and one of others.
fn rules_of_nodes_and_others(comment: &str) -> String {
    format!(
        r#"{{ "tagOwners": {{ "tag:node": [], "tag:other": [] }},
        "acls": [
        {{ "action": "accept", "src": ["tag:other"], "dst": ["tag:other:*"] }},
        {comment}
        {{ "action": "accept", "src": ["tag:node"],
           "dst": ["tag:node:22"] }},
    ] }}"#
    )
}

const NODES: &str = r#"{ "action": "accept", "src": ["tag:node"], "dst": ["tag:node:22"] }"#;

/// The members of a network reach each other's SSH.
const SSH: &str = r#"{
    "acls": [
        // All but this is denied.
        { "action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:member:22"], "proto": "tcp" },
    ],
}"#;

#[test]
fn a_revoked_node_is_cut_within_a_second() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-revoke", RELAYED)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(20))?;
    let id = b.id()?;
    // From before the command on, which itself takes some of the time.
    let revoked = Instant::now();
    hub.admin(&["nodes", "delete", "home", &id])?;
    let cut = cut_after(&pinger, revoked, Duration::from_secs(10));
    assert!(cut < Duration::from_secs(1), "cut after {cut:?}");
    b.wait_for("revoked", |status| status["state"] == "revoked");
    assert_eq!(a.peer("b")?, serde_json::Value::Null);
    Ok(())
}
