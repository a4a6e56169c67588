//! A node that knows ten thousand peers works for those alone that have traffic.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{HubOptions, MeshNode};
use netns_tests::{Host, Pinger, wait_until};
use proto::key::PublicKey;
use serde_json::{Value, json};

use crate::scene::Scene;

const BOTH: HubOptions = HubOptions { forwards: true, relay: true };
const SOON: Duration = Duration::from_secs(60);
const WATCHED: Duration = Duration::from_secs(20);
const KNOWN: u32 = 10_000;
const ACTIVE: u32 = 1_000;
/// In that time, by UDP: STUN to the relay, and what keeps the connection there.
const IDLE_PACKETS: u64 = 20;
/// How often threads of the daemon may wake in a second: its clocks, of a few hertz each.
const IDLE_WAKES: u64 = 20;
/// Two searches of six rounds with two addresses each, calls, and what waited for a session.
const PACKETS_EACH: u64 = 60;

/// Where those who are spoken with may be, and the others.
const NETS: [&str; 2] = ["198.51.100.0/24", "192.0.2.0/24"];

fn address(number: u32) -> Ipv4Addr {
    // 100.80.0.0 and on: nobody else's in the network.
    Ipv4Addr::from(0x6450_0000 + number)
}

/// A peer that is nowhere.
fn peer(number: u32) -> Value {
    let bytes = |of: u8| {
        let mut bytes = [of; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from(bytes).to_base64()
    };
    let net = if number < ACTIVE { "198.51.100" } else { "192.0.2" };
    let endpoints = [7, 8].map(|port| format!("{net}.{}:{port}", 1 + number % 250));
    json!({
        "id": format!("n{:032x}", 0xff00_0000_u32 + number), "name": format!("p{number}"),
        "key": bytes(1), "disco": bytes(2), "addresses": [address(number)],
        "endpoints": endpoints, "home": 1,
    })
}

fn count_packets(host: &Host) -> Result<()> {
    let [active, idle] = NETS;
    host.run(["nft", &format!("table inet seen {{ \
        counter every {{ }}; counter active {{ }}; counter idle {{ }}; \
        chain out {{ type filter hook output priority 0; oifname != lo meta l4proto udp jump tally; }}; \
        chain tally {{ counter name every; ip daddr {active} counter name active; \
            ip daddr {idle} counter name idle; }}; }}")])?;
    Ok(())
}

fn counted(host: &Host, name: &str) -> Result<u64> {
    let said = host.run(["nft", "-j", "list", "counter", "inet", "seen", name])?.stdout;
    let said: Value = serde_json::from_str(&said)?;
    let counter = said["nftables"].as_array().context("no counters")?;
    let counter = counter.iter().find_map(|item| item.get("counter")).context("no counter")?;
    counter["packets"].as_u64().context("no number")
}

/// How often threads of the daemon have gone to sleep so far.
fn wakes(node: &MeshNode) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{}/task", node.daemon_id()?))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.context("no count")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

#[test]
fn ten_thousand_known_peers_cost_nothing_and_a_thousand_active_ones_little() -> Result<()> {
    let Scene { mut a, b, mut hub, lab: _lab } = Scene::new("mesh-many", BOTH)?;
    let at_b = b.address()?;
    // By the netmap on disk, as after a start while the control plane is away.
    let file = a.state_file().with_file_name("netmap.json");
    wait_until(SOON, "the netmap on disk", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("\"name\":\"b\""))
    });
    a.stop_daemon();
    hub.stop_control();
    let mut netmap: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let peers = netmap["peers"].as_array_mut().context("peers")?;
    peers.extend((0..KNOWN).map(peer));
    fs::write(&file, netmap.to_string())?;
    a.start_daemon()?;
    a.wait_for("all peers and a home", |status| {
        let peers = status["peers"].as_array().map_or(0, Vec::len);
        peers == KNOWN as usize + 1 && !status["relay"].is_null()
    });
    count_packets(&a.host)?;
    // What follows a start is over when a second brings nothing.
    wait_until(SOON, "quiet", || {
        let before = counted(&a.host, "every").unwrap_or_default();
        std::thread::sleep(Duration::from_secs(2));
        counted(&a.host, "every").is_ok_and(|after| after - before <= 2)
    });
    let (packets, woken) = (counted(&a.host, "every")?, wakes(&a)?);
    std::thread::sleep(WATCHED);
    let (packets, woken) = (counted(&a.host, "every")? - packets, wakes(&a)? - woken);
    println!("idle: {packets} packets, {woken} wakes in {WATCHED:?}");
    assert!(packets <= IDLE_PACKETS, "{packets} packets by an idle node");
    assert!(woken <= IDLE_WAKES * WATCHED.as_secs(), "{woken} wakes of an idle node");

    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(100))?;
    let socket = a.host.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    for number in 0..ACTIVE {
        socket.send_to(b"hello", (address(number), 9))?;
    }
    wait_until(SOON, "searches for them", || {
        counted(&a.host, "active").is_ok_and(|packets| packets > u64::from(ACTIVE))
    });
    std::thread::sleep(WATCHED);
    pinger.wait_for_more(20, SOON)?;
    let (all, active) = (counted(&a.host, "every")?, counted(&a.host, "active")?);
    println!("a thousand active: {all} packets, {active} of them to try addresses");
    assert!(active <= PACKETS_EACH * u64::from(ACTIVE), "{active} packets");
    assert_eq!(counted(&a.host, "idle")?, 0, "packets for idle peers");
    Ok(())
}
