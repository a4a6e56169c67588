//! Members that lie, and strangers that flood.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::{HubOptions, MeshNode};
use netns_tests::{Pinger, ping, wait_until};
use serde_json::{Value, json};

use crate::scene::Scene;

const BOTH: HubOptions = HubOptions { forwards: true, relay: true };
const SOON: Duration = Duration::from_secs(60);
const WATCHED: Duration = Duration::from_secs(25);
/// What has never answered is sent so many small packets at once, and so many a second.
const AT_ONCE: u64 = 200;
const A_SECOND: u64 = 20;
/// Headers and a ping.
const SMALL: u64 = 150;

/// Packets and bytes of UDP that have come to a host.
fn arrived(host: &netns_tests::Host) -> Result<(u64, u64)> {
    let said: Value = serde_json::from_str(
        &host.run(["nft", "-j", "list", "counter", "inet", "seen", "came"])?.stdout,
    )?;
    let counter = said["nftables"].as_array().context("no counters")?;
    let counter = counter.iter().find_map(|item| item.get("counter")).context("no counter")?;
    let number = |what: &str| counter[what].as_u64().context("no number");
    Ok((number("packets")?, number("bytes")?))
}

#[test]
fn a_member_that_names_a_victims_addresses_has_a_bounded_few_packets_sent_there() -> Result<()> {
    let Scene { a, mut b, mut hub, lab } = Scene::new("mesh-liar", BOTH)?;
    let victim: MeshNode = hub.node(&lab, "victim")?;
    victim.host.run([
        "nft",
        "table inet seen { counter came { }; \
         chain in { type filter hook input priority 0; meta l4proto udp counter name came; }; }",
    ])?;
    let at_b = b.address()?;
    b.stop_daemon();
    // What it would say of itself: a host that is none of its own, at many ports.
    let places: Vec<_> = (0..32).map(|port| json!(format!("10.3.0.1:{}", 2000 + port))).collect();
    hub.change_nodes(|node| {
        if node["name"] == "b" {
            node["endpoints"] = Value::Array(places.clone());
        }
    })?;
    wait_until(SOON, "the lie", || {
        a.nearwire(&["explain", "b"]).is_ok_and(|said| said.contains("10.3.0.1:"))
    });
    let start = Instant::now();
    let traffic = a.host.spawn(["ping", "-n", "-i", "0.2", &at_b])?;
    wait_until(SOON, "probes at the victim", || arrived(&victim.host).is_ok_and(|(n, _)| n > 30));
    std::thread::sleep(WATCHED.saturating_sub(start.elapsed()));
    let ((packets, bytes), seconds) = (arrived(&victim.host)?, start.elapsed().as_secs());
    drop(traffic);
    println!("{packets} packets of {bytes} bytes in {seconds} s");
    assert!(packets <= AT_ONCE + A_SECOND * (seconds + 1), "{packets} packets in {seconds} s");
    assert!(bytes <= packets * SMALL, "{bytes} bytes in {packets} packets");
    Ok(())
}

#[test]
fn a_flood_of_strangers_probes_is_counted_and_stops_nobody() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-probe-flood", BOTH)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    a.wait_for_path("b", "direct");
    let endpoints = a.status()?["endpoints"].clone();
    let port = endpoints[0].as_str().and_then(|at| at.rsplit(':').next()).context("no port")?;
    let to: SocketAddr = format!("10.1.0.1:{port}").parse()?;
    let refused = || -> Result<u64> {
        let paths = a.status()?["paths"].clone();
        Ok(paths["refused"]["stranger"].as_u64().unwrap_or_default())
    };
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    let socket = hub.host.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    let mut probe = [7; 120];
    probe[..6].copy_from_slice(b"nwprb\x01");
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < Duration::from_secs(3) {
        probe[6..14].copy_from_slice(&sent.to_be_bytes());
        // One that the host has no room for is one less.
        let _ = socket.send_to(&probe, to);
        sent += 1;
    }
    pinger.wait_for_more(20, SOON)?;
    wait_until(SOON, "refused probes", || refused().is_ok_and(|count| count > 1000));
    a.wait_for_path("b", "direct");
    println!("{sent} probes, {} refused, {:?}", refused()?, pinger.finish()?);
    Ok(())
}
