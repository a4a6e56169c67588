//! When the kernel may not switch, and when the relay ends.

use rustix::process::Signal;

use super::hosts::{lanes, until_switched};
use super::scene::{Machine, SOON, start};

/// Nobody, with these capabilities.
fn nobody(capabilities: &str) -> Vec<String> {
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        .into_iter()
        .map(str::to_owned)
        .chain(["inh-caps", "ambient-caps", "bounding-set"].map(|set| {
            // Those of the test, but for these, are not to be had.
            format!("--{set}=-all,{capabilities}")
        }))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_capabilities_of_the_unit_are_enough() {
    let unit = include_str!("../../nearwire-relay.service");
    let line = unit.lines().find(|line| line.starts_with("AmbientCapabilities=")).expect("a line");
    let (_, capabilities) = line.split_once('=').expect("capabilities");
    let capabilities: Vec<String> = capabilities
        .split(' ')
        .map(|name| format!("+{}", name.to_lowercase().trim_start_matches("cap_")))
        .collect();
    let words = nobody(&capabilities.join(","));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let relay = start("relay-unit", &words, &[]);
    assert_eq!(relay.status()["lane_switch"], "xdp", "{}", relay.status());
    let (_clients, [a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    a.send(b"switched").await;
    assert_eq!(b.receive().await, b"switched");
    assert_eq!(relay.number("/counters/kernel_packets"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_privilege_user_space_switches_and_says_why() {
    let words = nobody("+net_bind_service");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for (name, before, flags, why) in [
        ("relay-no-cap", &words[..], &[][..], "CAP_BPF"),
        ("relay-off", &[], &["--xdp", "off"], "`xdp` is off"),
        ("relay-no-such", &[], &["--xdp", "nic9"], "nic9"),
    ] {
        let relay = start(name, before, flags);
        let status = relay.status();
        assert_eq!(status["lane_switch"], "userspace", "{status}");
        assert!(status["xdp"]["refused"].to_string().contains(why), "{status}");
        let said = relay.process.stderr_so_far();
        assert!(said.contains("user space") && said.contains(why), "{said}");
        let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, true]).await;
        a.send(b"there").await;
        assert_eq!(b.receive().await, b"there");
        b.send(b"back").await;
        assert_eq!(a.receive().await, b"back");
        assert!(!relay.has_xdp());
    }
}

#[test]
fn the_program_is_gone_with_the_relay() {
    for signal in [Signal::TERM, Signal::KILL] {
        let relay = start("relay-gone", &[], &[]);
        assert!(relay.has_xdp());
        relay.process.signal(signal).expect("is told");
        netns_tests::wait_until(SOON, "it ends", || !relay.process.is_running());
        netns_tests::wait_until(SOON, "its program is gone", || !relay.has_xdp());
    }
}

#[test]
fn check_foretells_where_lanes_are_switched() {
    let relay = start("relay-check", &[], &["--xdp", "off"]);
    let directory = std::env::temp_dir().join(format!("relay-foretell-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("relay.toml");
    let key = proto::key::PublicKey::from([9; 32]).to_base64();
    for (xdp, foretold) in
        [("auto", "by the kernel (XDP) on"), ("off", "in user space: `xdp` is off")]
    {
        let text = format!(
            "control-keys = [\"1:{key}\"]\nself-signed = [\"relay.test\"]\nxdp = \"{xdp}\"\n\
             lanes = \"[::]:3478\"\nlane-addresses = [\"10.1.0.1:3478\"]\n"
        );
        std::fs::write(&file, text).expect("a file");
        let path = file.to_string_lossy();
        let words = [env!("CARGO_BIN_EXE_nearwire-relay"), "check", &path];
        let output = relay.host.run(words).expect("a good configuration");
        assert!(output.stdout.contains(foretold), "{}", output.stdout);
    }
    std::fs::remove_dir_all(&directory).expect("removes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_that_is_made_anew_gets_the_program_again() {
    const KERNEL: &str = "/counters/kernel_packets";
    let mut relay = start("relay-anew", &[], &[]);
    let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    a.send(b"before").await;
    assert_eq!(b.receive().await, b"before");
    assert_eq!(relay.number(KERNEL), 1);
    let interfaces = |relay: &Machine| {
        let status = relay.status();
        status["xdp"]["interfaces"].as_array().expect("interfaces").len()
    };
    relay.unplug(1);
    netns_tests::wait_until(SOON, "its absence is seen", || interfaces(&relay) == 1);
    let status = relay.status();
    let refused = status["xdp"]["refused"].to_string();
    assert!(refused.contains(&relay.interfaces[1]), "{status}");
    assert_eq!(status["lane_switch"], "xdp", "on the other interface: {status}");
    relay.plug(1);
    netns_tests::wait_until(SOON, "the program is back", || interfaces(&relay) == 2);
    assert_eq!(relay.status()["xdp"]["refused"].to_string(), "[]");
    until_switched(&relay, [&mut a, &mut b], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interfaces_that_come_later_get_the_program_with_the_lanes_there_are() {
    const KERNEL: &str = "/counters/kernel_packets";
    let mut relay = start("relay-later", &[], &["--xdp", "later0,later1"]);
    let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    a.send(b"before").await;
    assert_eq!(b.receive().await, b"before");
    let status = relay.status();
    assert_eq!(status["lane_switch"], "userspace", "{status}");
    assert!(status["xdp"]["refused"].to_string().contains("no interface later0, later1 yet"));
    relay.rename(0, "later0");
    let hangs = |relay: &Machine, count| {
        relay.status()["xdp"]["interfaces"].as_array().is_some_and(|all| all.len() == count)
    };
    netns_tests::wait_until(SOON, "the program is there", || hangs(&relay, 1));
    relay.rename(1, "later1");
    netns_tests::wait_until(SOON, "on both", || hangs(&relay, 2));
    let status = relay.status();
    assert_eq!(status["lane_switch"], "xdp", "{status}");
    assert_eq!(status["xdp"]["refused"].to_string(), "[]");
    until_switched(&relay, [&mut a, &mut b], 2).await;
}
