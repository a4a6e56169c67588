//! What the kernel tells of flows: shown, followed, logged, explained.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use netns_tests::{Family, ping, wait_until};
use serde_json::Value;

use crate::packets::{udp, v4};
use crate::scene::{POLICY, PolicyFile, SOON, Scene, listen, nearwire};

/// The line of POLICY that allows TCP.
const TCP_LINE: u64 = 3;

/// A file for a flow log.
struct LogFile(PathBuf);

impl LogFile {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("nearwire-flows-{}-{name}", std::process::id())))
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // Not made is as good.
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("1"));
    }
}

fn is(record: &Value, event: &str, port: u64) -> bool {
    record["event"] == event && record["destination_port"] == port
}

#[test]
fn flows_are_shown_followed_and_logged() -> Result<()> {
    let scene = Scene::new("flows")?;
    let policy = PolicyFile::new("flows", POLICY)?;
    let log = LogFile::new("log");
    let (client, server) =
        scene.tunnels_with(&policy, |server| server.arg("--flow-log").arg(&log.0))?;
    let program = netns_tests::wireguard::nearwire_program()?;
    let program = program.to_str().context("not UTF-8")?;
    let follower = scene.server.spawn([program, "flows", server.name(), "--follow", "--json"])?;

    let listener = listen(&scene.server, "10.9.0.2:80")?;
    let mut live = scene
        .client
        .enter(|| TcpStream::connect_timeout(&listener.local_addr().expect("bound"), SOON))??;
    let (mut accepted, _) = listener.accept()?;
    live.write_all(&[7; 1000])?;
    accepted.read_exact(&mut [0; 1000])?;

    // While it is open.
    let shown = nearwire(&scene.server, &["flows", server.name(), "--json"])?;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    let flows = shown["flows"].as_array().context("no flows")?;
    let flow = flows.iter().find(|flow| is(flow, "open", 80)).context("the flow is not shown")?;
    assert_eq!((&flow["direction"], &flow["protocol"]), (&"in".into(), &"tcp".into()));
    assert_eq!((&flow["source"], &flow["rule_line"]), (&"10.9.0.1".into(), &TCP_LINE.into()));
    assert!(flow["received"]["bytes"].as_u64() > Some(1000), "{flow}");
    assert!(flow["sent"]["packets"].as_u64() > Some(0), "{flow}");
    let human = nearwire(&scene.server, &["flows", server.name()])?;
    assert!(human.stdout.contains("10.9.0.2:80"), "{}", human.stdout);

    // It ends, and something else is denied.
    live.shutdown(Shutdown::Both)?;
    accepted.shutdown(Shutdown::Both)?;
    drop((live, accepted));
    scene.client.send_raw(client.name(), &v4(17, 0, &udp(54)))?;
    let complete = |records: &[Value]| {
        records.iter().any(|record| is(record, "start", 80))
            && records.iter().any(|record| {
                is(record, "end", 80)
                    && record["reason"] == "closed"
                    && record["received"]["bytes"].as_u64() > Some(1000)
            })
            && records
                .iter()
                .any(|record| is(record, "denied", 54) && record["reason"] == "policy_no_rule")
    };
    wait_until(SOON, "all of it in the log", || complete(&log.records()));
    wait_until(SOON, "all of it for the follower", || {
        let text = follower.stdout_so_far();
        let records: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        complete(&records)
    });

    // As logrotate does.
    fs::rename(&log.0, log.0.with_extension("1"))?;
    server.process().signal(rustix::process::Signal::HUP)?;
    server.process().wait_for_line("policy reloaded", SOON)?;
    scene.client.send_raw(client.name(), &v4(17, 0, &udp(55)))?;
    wait_until(SOON, "a new file", || log.records().iter().any(|record| is(record, "denied", 55)));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&log.0)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    follower.stop()?;
    Ok(())
}

#[test]
fn a_revoked_flow_is_told_of() -> Result<()> {
    let scene = Scene::new("told")?;
    let policy = PolicyFile::new("told", POLICY)?;
    let log = LogFile::new("told");
    let (_client, server) =
        scene.tunnels_with(&policy, |server| server.arg("--flow-log").arg(&log.0))?;
    let listener = listen(&scene.server, "10.9.0.2:80")?;
    let mut live = scene
        .client
        .enter(|| TcpStream::connect_timeout(&listener.local_addr().expect("bound"), SOON))??;
    policy.write(&POLICY.replace("*:80,", "*:"))?;
    let applied = nearwire(&scene.server, &["policy", "apply", server.name(), policy.path()])?;
    assert!(applied.status.success(), "{}", applied.stderr);
    live.write_all(b"x")?;
    wait_until(SOON, "its end", || {
        log.records().iter().any(|record| is(record, "end", 80) && record["reason"] == "revoked")
    });
    Ok(())
}

#[test]
fn a_flood_of_denials_is_limited_and_counted() -> Result<()> {
    let scene = Scene::new("denials")?;
    let policy = PolicyFile::new("denials", POLICY)?;
    let log = LogFile::new("denials");
    let (client, server) =
        scene.tunnels_with(&policy, |server| server.arg("--flow-log").arg(&log.0))?;
    // A session first: what is sent before it there is little room for.
    ping(&scene.client, "10.9.0.2")?;
    // From one socket: opening one for each takes so long on a busy machine that there is no flood.
    let (writer, packet) = (scene.client.writer(client.name(), Family::V4)?, v4(17, 0, &udp(54)));
    let dropped = || crate::scene::dropped(&server, dataplane_common::DropReason::PolicyNoRule);
    wait_until(SOON, "many to arrive", || {
        for _ in 0..500 {
            // A full queue has no room for some.
            let _ = writer.write(&[0; 10], &packet);
        }
        dropped() > 1500
    });
    let lost = || -> Result<u64> {
        let shown = nearwire(&scene.server, &["flows", server.name(), "--json"])?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        shown["lost"]["suppressed"].as_u64().context("not counted")
    };
    wait_until(SOON, "all told or counted", || {
        let told = log.records().iter().filter(|record| is(record, "denied", 54)).count() as u64;
        lost().is_ok_and(|lost| lost > 0 && told + lost >= dropped())
    });
    Ok(())
}

#[test]
fn what_is_in_force_explains_itself() -> Result<()> {
    let scene = Scene::new("explain")?;
    let policy = PolicyFile::new("explain", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    let listener = listen(&scene.server, "10.9.0.2:80")?;
    let _live = scene
        .client
        .enter(|| TcpStream::connect_timeout(&listener.local_addr().expect("bound"), SOON))??;
    let explain = |source: &str, destination: &str| -> Result<Value> {
        let words = ["policy", "explain", "--live", server.name(), source, destination, "--json"];
        let explained = nearwire(&scene.server, &words)?;
        anyhow::ensure!(explained.status.success(), "{}", explained.stderr);
        let explained: Value = serde_json::from_str(&explained.stdout)?;
        Ok(explained["flows"][0].clone())
    };
    let allowed = explain("10.9.0.1", "10.9.0.2:80")?;
    assert_eq!((&allowed["accepted"], &allowed["generation"]), (&true.into(), &1.into()));
    assert_eq!(allowed["rule"]["line"], TCP_LINE);
    assert!(allowed["rule"]["packets"].as_u64() > Some(0), "{allowed}");
    assert_eq!(allowed["flows"][0]["destination_port"], 80, "{allowed}");
    let no_rule = explain("10.9.0.1", "10.9.0.2:81")?;
    assert_eq!(
        (&no_rule["accepted"], &no_rule["reason"]),
        (&false.into(), &"policy_no_rule".into())
    );
    let denied = explain("10.9.0.1", "10.9.0.2:8666")?;
    assert_eq!((&denied["accepted"], &denied["reason"]), (&false.into(), &"policy_denied".into()));
    let dns = explain("fd09::1", "[fd09::2]:53/udp")?;
    assert_eq!(dns["accepted"], true);

    let human = nearwire(
        &scene.server,
        &["policy", "explain", "--live", server.name(), "10.9.0.1", "10.9.0.2:80"],
    )?;
    assert!(
        human.stdout.contains("accepted") && human.stdout.contains("line 3"),
        "{}",
        human.stdout
    );
    let wrong = nearwire(&scene.server, &["policy", "explain", "--live", server.name()])?;
    assert_ne!(wrong.status.code(), Some(0));
    // Where only one interface is served, in this namespace, it need not be named.
    let unnamed =
        nearwire(&scene.server, &["policy", "explain", "--live", "10.9.0.1", "10.9.0.2:80"])?;
    assert!(unnamed.stdout.contains("line 3"), "{}{}", unnamed.stdout, unnamed.stderr);
    Ok(())
}
