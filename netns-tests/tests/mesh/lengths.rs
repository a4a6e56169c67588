//! How long packets may be on the way to a peer: found out, told to the host, and used.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::MeshNode;
use netns_tests::{Host, answers, ping, ping_sized, tcp_transfer, wait_until};
use serde_json::Value;

use crate::scene::{DIRECT, RELAYED, Scene};

const HUB: &str = "10.255.0.1";
const SOON: Duration = Duration::from_secs(60);

/// The longest packet that fits the way to a peer, as the node knows it.
fn fits(node: &MeshNode, peer: &str) -> Option<u64> {
    let report = node.nearwire(&["explain", peer, "--json"]).ok()?;
    serde_json::from_str::<Value>(&report).ok()?["fits"].as_u64()
}

fn wait_for_fit(node: &MeshNode, peer: &str, bytes: u64) {
    wait_until(SOON, &format!("{}: {bytes} bytes to {peer}", node.name), || {
        fits(node, peer) == Some(bytes)
    });
}

/// The link that leads there.
fn set_mtu(host: &Host, address: &str, mtu: u16) -> Result<()> {
    host.ip(["link", "set", &host.link_to(address)?, "mtu", &mtu.to_string()])?;
    Ok(())
}

/// Fragments that the host has made, of its own packets and of others'.
fn fragments(host: &Host) -> Result<u64> {
    let counters = host.run(["cat", "/proc/net/snmp"])?.stdout;
    let mut lines = counters.lines().filter(|line| line.starts_with("Ip: "));
    let (names, numbers) = lines.next().zip(lines.next()).context("no counters of IP")?;
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    let (_, number) = pairs.find(|(name, _)| *name == "FragCreates").context("no FragCreates")?;
    Ok(number.parse()?)
}

#[test]
fn a_way_that_carries_1280_bytes_and_does_not_say_so_is_found_and_delivers_everything() -> Result<()>
{
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-narrow", DIRECT)?;
    set_mtu(&hub.host, "10.2.0.1", 1280)?;
    set_mtu(&b.host, HUB, 1280)?;
    // A black hole: nobody is told that a packet was too long.
    hub.host.run(["nft", "table inet hole { chain out { type filter hook output priority 0; meta l4proto { icmp, icmpv6 } drop; }; }"])?;
    let (at_a, at_b) = (a.address()?, b.address()?);
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", "direct");
    wait_for_fit(&a, "b", 1220);
    // The host is told, as by any router.
    let refused = a.host.output(["ping", "-n", "-c", "2", "-M", "do", "-s", "1300", &at_b])?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(!refused.status.success() && said.contains("1220"), "{said}");
    let drops = a.nearwire(&["drops", &a.interface])?;
    assert!(drops.contains("too_big"), "{drops}");
    // Whoever may send less sends less, and nothing is cut underneath.
    let before = fragments(&a.host)? + fragments(&hub.host)?;
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 16 << 20, SOON)?;
    assert_eq!(fragments(&a.host)? + fragments(&hub.host)?, before);
    // What may be cut, and what IPv6 must be able to send, arrives in fragments.
    ping_sized(&a.host, &at_b, 4000)?;
    let v6 = b.status()?["addresses"][1].as_str().context("no IPv6 address")?.to_owned();
    ping_sized(&a.host, &v6, 1232)?;
    tcp_transfer(&b.host, &a.host, at_a.parse()?, 16 << 20, SOON)?;
    Ok(())
}

#[test]
fn a_way_that_carries_9000_bytes_is_used() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-jumbo", DIRECT)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", "direct");
    wait_for_fit(&a, "b", 1440);
    for node in [&a, &b] {
        set_mtu(&node.host, HUB, 9000)?;
    }
    let long = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "8800", &at_b];
    wait_until(SOON, "the host is told that the way carries less than its own link", || {
        a.host.output(long).is_ok_and(|pinged| pinged.stdout.contains("1440"))
    });
    for (node, address) in [(&a, "10.1.0.1"), (&b, "10.2.0.1")] {
        set_mtu(&hub.host, address, 9000)?;
        // What is another network is looked at anew.
        let link = node.host.link_to(HUB)?;
        node.host.ip(["address", "add", &format!("{address}00/24"), "dev", &link])?;
    }
    for (node, peer) in [(&a, "b"), (&b, "a")] {
        wait_until(SOON, "an echo", || {
            answers(&a.host, &at_b, Duration::from_secs(1)).unwrap_or(false)
        });
        wait_for_fit(node, peer, 8940);
    }
    let before = fragments(&a.host)?;
    wait_until(SOON, "a long packet in one piece", || {
        a.host.output(long).is_ok_and(|pinged| pinged.status.success())
    });
    assert_eq!(fragments(&a.host)?, before);
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 16 << 20, SOON)?;
    Ok(())
}

#[test]
fn long_packets_over_ipv6_are_used_as_soon_as_a_way_carries_them() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-jumbo-v6", RELAYED)?;
    for (node, address) in [(&a, "10.1.0.1"), (&b, "10.2.0.1")] {
        set_mtu(&node.host, HUB, 9000)?;
        set_mtu(&hub.host, address, 9000)?;
        // What is another network is looked at anew.
        let link = node.host.link_to(HUB)?;
        node.host.ip(["address", "add", &format!("{address}00/24"), "dev", &link])?;
    }
    let v6 = b.status()?["addresses"][1].as_str().context("no IPv6 address")?.to_owned();
    ping(&a.host, &v6)?;
    a.wait_for_path("b", "relay");
    let long = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "8800", &v6];
    wait_until(SOON, "the host is told that the relay carries less than its own link", || {
        a.host.output(long).is_ok_and(|pinged| pinged.stdout.contains("1420"))
    });
    hub.host.sysctl("net.ipv4.ip_forward", "1")?;
    for (node, peer) in [(&a, "b"), (&b, "a")] {
        wait_until(SOON, "an echo", || {
            answers(&a.host, &v6, Duration::from_secs(1)).unwrap_or(false)
        });
        wait_for_fit(node, peer, 8940);
    }
    // Not after the ten minutes for which the host would remember what it was told.
    wait_until(SOON, "a long packet in one piece", || {
        a.host.output(long).is_ok_and(|pinged| pinged.status.success())
    });
    Ok(())
}
