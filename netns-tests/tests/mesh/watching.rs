//! What a node shows of itself: `nearwire top`, and metrics.

use anyhow::{Context as _, Result};
use netns_tests::mesh::MeshNode;
use netns_tests::{ping, wait_until};
use serde_json::Value;

use crate::scene::{DIRECT, Scene};

#[test]
fn flows_are_told_to_the_control_plane_when_it_asks() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-flows", DIRECT)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    hub.admin(&["networks", "set", "home", "--flow-logs", "1"])?;
    let told = |event: &str| -> Result<Vec<Value>> {
        let flows = hub.admin_json(&["flows", "home", "--event", event])?;
        Ok(flows["flows"].as_array().cloned().unwrap_or_default())
    };
    let closed = |flow: &Value| flow["destination"] == at_b.as_str() && flow["protocol"] == 6;
    // What was before is not told; the next is, by both ends.
    wait_until(netns_tests::mesh::PATIENCE, "a flow that started", || {
        let _ = a.host.output(["curl", "-s", "-m", "1", &format!("http://{at_b}:81/")]);
        told("start").is_ok_and(|flows| {
            let nodes: std::collections::BTreeSet<_> =
                flows.iter().filter(|f| closed(f)).map(|f| f["node"].to_string()).collect();
            nodes.len() == 2
        })
    });
    hub.policy(
        r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:22"], "proto": "tcp" }] }"#,
    )?;
    wait_until(netns_tests::mesh::PATIENCE, "a flow that was denied", || {
        let _ = a.host.output(["curl", "-s", "-m", "1", &format!("http://{at_b}:81/")]);
        told("denied").is_ok_and(|flows| flows.iter().any(closed))
    });
    hub.admin(&["networks", "set", "home", "--flow-logs", "0"])?;
    Ok(())
}

#[test]
fn top_and_metrics_tell_of_traffic() -> Result<()> {
    let Scene { a, b, hub: _hub, lab: _lab } = Scene::new("mesh-watching", DIRECT)?;
    ping(&a.host, &b.address()?)?;
    a.wait_for_path("b", "direct");

    let looks = a.nearwire(&["top", "--json", "--count", "2", "--interval", "200"])?;
    let looks: Vec<Value> = looks.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(looks.len(), 2);
    let peer = &looks[1]["peers"][0];
    assert_eq!((&peer["name"], &looks[1]["state"]), (&"b".into(), &"connected".into()));
    assert!(peer["sent_per_second"].is_number() && peer["rtt_ms"].is_number(), "{peer}");
    // The table on the other screen of the terminal, which is given back.
    let shown = a.output_on_a_terminal(&["top", "--count", "2", "--interval", "200"])?;
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let (begin, end) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    let screen = shown.stdout.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    let (screen, after) = screen.context("no screen of its own")?;
    assert!(screen.contains("direct") && screen.contains("RTT"), "{screen:?}");
    assert!(!after.contains("direct"), "{after:?}");
    let blind = a.output(&["top"])?;
    assert_eq!(blind.status.code(), Some(1));
    assert!(blind.stderr.contains("--json"), "{}", blind.stderr);

    let url = format!("http://{}/metrics", MeshNode::METRICS);
    let scrape = || -> Result<String> { Ok(a.host.run(["curl", "-sSf", &url])?.stdout) };
    let holds = |line: &str| scrape().is_ok_and(|text| text.lines().any(|found| found == line));
    for line in [
        "nearwire_peers{path=\"direct\"} 1",
        "nearwire_sessions 1",
        "nearwire_control_connected 1",
        "nearwire_up 1",
        "nearwire_flow_events_total{event=\"start\"} 1",
    ] {
        wait_until(netns_tests::mesh::PATIENCE, line, || holds(line));
    }
    assert!(scrape()?.trim_end().ends_with("# EOF"));
    let elsewhere = url.replace("/metrics", "/state");
    assert!(!a.host.output(["curl", "-sSf", &elsewhere])?.status.success());
    Ok(())
}
