//! What changes on the host while the kernel switches.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use netns_tests::wait_until;
use tokio::time::timeout;

use super::hosts::{lanes, until_switched};
use super::lane::Lane;
use super::scene::{HOSTS, Machine, SOON, start};

const KERNEL: &str = "/counters/kernel_packets";
/// Within which a switch that was lost is back, if a try or two had been too early.
const BACK: Duration = Duration::from_secs(120);

/// Addresses that the relay's table in the kernel has room for, beside its own, and more than that.
const MANY: RangeInclusive<u32> = 1..=4_000;
const TOO_MANY: RangeInclusive<u32> = 4_001..=4_200;

/// Gives the relay's host these addresses, or takes them.
fn crowd(relay: &Machine, verb: &str, which: RangeInclusive<u32>) {
    let line = |n: u32| {
        format!("address {verb} 10.9.{}.{}/32 dev {}\n", n >> 8, n & 255, relay.interfaces[0])
    };
    let lines: String = which.map(line).collect();
    let file = std::env::temp_dir().join(format!("relay-crowd-{}-{verb}", std::process::id()));
    std::fs::write(&file, lines).expect("a file");
    relay.host.ip(["-batch", &file.to_string_lossy()]).expect("changes addresses");
    std::fs::remove_file(&file).expect("removes it");
}

/// Has the ends say that they are still there, and hear the answers.
async fn keep(ends: [&mut Lane; 2]) {
    for end in ends {
        end.transmit().await;
        // Nothing else is sent to it.
        let _ = timeout(Duration::from_millis(100), end.receive()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_fails_is_taken_up_again() {
    let relay = start("relay-lost", &[], &[]);
    let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, true]).await;
    a.send(b"before").await;
    assert_eq!(b.receive().await, b"before");
    assert_eq!(relay.number(KERNEL), 1);
    let switch = |relay: &Machine| relay.status()["lane_switch"].clone();
    crowd(&relay, "add", MANY);
    until_switched(&relay, [&mut a, &mut b], 2).await;
    crowd(&relay, "add", TOO_MANY);
    wait_until(BACK, "the switch is lost", || switch(&relay) == "userspace");
    let status = relay.status();
    assert!(status["xdp"]["refused"].to_string().contains("addresses are more than"), "{status}");
    assert!(
        relay.process.stderr_so_far().contains("any more"),
        "{}",
        relay.process.stderr_so_far()
    );
    assert!(!relay.has_xdp());
    a.send(b"by user space").await;
    assert_eq!(b.receive().await, b"by user space");
    crowd(&relay, "delete", TOO_MANY);
    let deadline = Instant::now() + BACK;
    while switch(&relay) != "xdp" {
        assert!(Instant::now() < deadline, "{}", relay.status());
        keep([&mut a, &mut b]).await;
    }
    let status = relay.status();
    assert_eq!(status["xdp"]["interfaces"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["xdp"]["refused"].to_string(), "[]");
    until_switched(&relay, [&mut a, &mut b], 1).await;
}

/// The names of the interfaces on which the kernel switches.
fn hangs_on(relay: &Machine) -> Vec<String> {
    let status = relay.status();
    let all = status["xdp"]["interfaces"].as_array().expect("interfaces");
    all.iter().map(|at| at["interface"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_follows_a_default_route() {
    // As behind a NAT that maps this address to the host.
    let relay = start("relay-route", &[], &["--lane-addresses", "203.0.113.5:3478"]);
    assert_eq!(relay.status()["lane_switch"], "userspace", "{}", relay.status());
    let route = |side: usize| {
        let [gateway, _] = HOSTS[side];
        let words = ["route", "replace", "default", "via", gateway, "dev", &relay.interfaces[side]];
        relay.host.ip(words).expect("a route");
    };
    let [first, second] = &relay.interfaces;
    route(0);
    wait_until(SOON, "the switch hangs there", || hangs_on(&relay) == [first.as_str()]);
    let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    for packet in [b"one", b"two"] {
        a.send(packet).await;
        assert_eq!(b.receive().await, packet);
    }
    assert_eq!(relay.number(KERNEL), 0, "the way to the other end is not known");
    route(1);
    let both = || hangs_on(&relay) == [first.as_str(), second.as_str()];
    wait_until(SOON, "it hangs where the route is now, too", both);
    until_switched(&relay, [&mut a, &mut b], 1).await;
    let before = relay.number(KERNEL);
    until_switched(&relay, [&mut b, &mut a], before + 1).await;
    // Without any route it stays where it is.
    relay.host.ip(["route", "delete", "default"]).expect("deletes");
    relay.unplug(0);
    wait_until(SOON, "the first has gone", || hangs_on(&relay) == [second.as_str()]);
}
