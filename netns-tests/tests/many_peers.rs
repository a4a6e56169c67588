//! Ten thousand peers of one interface, one of them alive.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::wireguard::{
    Implementation, KeyFile, OUTER_A, OUTER_B, PeerSettings, Tunnel, wired_hosts,
};
use netns_tests::{Lab, UdpEcho, ping, udp_round_trip};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

const SOON: Duration = Duration::from_secs(10);
const PEERS: u32 = 10_000;
/// A peer at the shard that owns it, its networks in two families, and what an allocator keeps.
const KIB_PER_PEER: u64 = 13;
/// What every other shard keeps of it: who it is, and its networks.
const KIB_PER_STUB: u64 = 1;
/// How long all of them may take, a debug build too: about as long as their keys do. (What looked
/// at all networks for each peer took half a minute, in which no packet was carried.)
const CONFIGURED_WITHIN: Duration = Duration::from_secs(10);
/// How long an idle daemon is watched, and what it may use, in ticks of 10 ms.
const IDLE: Duration = Duration::from_secs(2);
const IDLE_TICKS: u64 = 3;

/// Peer `number`'s own addresses; the live one is none of them.
fn networks(number: u32) -> String {
    let [_, high, middle, low] = number.to_be_bytes();
    format!("10.{}.{middle}.{low}/32,fd77::{high:x}:{middle:x}:{low:x}/128", 128 + high)
}

/// A configuration of so many peers who are nowhere, and of `live`.
fn configuration(tunnel: &Tunnel<'_>, live: &Tunnel<'_>) -> Result<String> {
    let mut random = SmallRng::seed_from_u64(8);
    let mut text = String::from("[Interface]\n");
    writeln!(text, "PrivateKey = {}\nListenPort = {}", tunnel.keys().private, tunnel.port())?;
    for number in 1..PEERS {
        let mut key = [0; 32];
        random.fill_bytes(&mut key);
        let key = proto::key::PublicKey::from(key).to_base64();
        writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {}", networks(number))?;
    }
    writeln!(
        text,
        "[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.2/32\nEndpoint = {}:{}",
        live.public_key(),
        OUTER_B[0],
        live.port()
    )?;
    Ok(text)
}

/// In KiB.
fn memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

/// What it has used, in user and kernel mode.
fn ticks(process: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field, the name, may hold anything; the third is the first behind it.
    let (_, rest) = stat.rsplit_once(") ").context("no name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

#[test]
fn ten_thousand_peers_of_one_shard() -> Result<()> {
    ten_thousand_peers(1)
}

#[test]
fn ten_thousand_peers_of_four_shards() -> Result<()> {
    ten_thousand_peers(4)
}

fn ten_thousand_peers(shards: u64) -> Result<()> {
    let lab = Lab::new("many")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = &hosts;
    let builder = Tunnel::builder(Implementation::Nearwire);
    let tunnel = builder.arg("--shards").arg(shards.to_string()).start(a)?;
    let live = Tunnel::start(b, Implementation::Nearwire)?;
    tunnel.configure(&["10.9.0.1/24"])?;
    live.configure(&["10.9.0.2/24"])?;
    let endpoint = OUTER_A[0].parse().ok();
    let settings = PeerSettings { allowed_ips: "10.9.0.1/32", endpoint, ..PeerSettings::default() };
    live.add_peer(&tunnel, &settings)?;

    let process = tunnel.process().id();
    let before = memory(process)?;
    let file = KeyFile::new(&configuration(&tunnel, &live)?)?;
    let started = Instant::now();
    a.run(["wg", "setconf", tunnel.name(), &file.path()])?;
    let took = started.elapsed();
    let grown = memory(process)?.saturating_sub(before);
    println!(
        "{PEERS} peers, {shards} shards: {took:?}, {grown} KiB: {} bytes each",
        grown * 1024 / u64::from(PEERS)
    );
    let each = KIB_PER_PEER + KIB_PER_STUB * (shards - 1);
    assert!(grown <= each * u64::from(PEERS), "{grown} KiB with {shards} shards");
    assert!(took < CONFIGURED_WITHIN, "{took:?} with {shards} shards");

    let shown = tunnel.show()?;
    assert_eq!(shown.peers.len(), usize::try_from(PEERS)?);
    let last = shown.peers.iter().filter(|peer| peer.allowed_ips.len() == 2).count();
    assert_eq!(last, usize::try_from(PEERS - 1)?);

    ping(a, "10.9.0.2")?;
    let echo = UdpEcho::start(b, "10.9.0.2:0".parse()?)?;
    // The best of some: a busy machine adds to any one of them.
    let trips: Result<Vec<_>> =
        (0..50).map(|_| udp_round_trip(a, echo.address(), b"alive", SOON)).collect();
    let best = trips?.into_iter().min().context("no trip")?;
    println!("best round trip {best:?}");
    assert!(best < Duration::from_millis(20), "{best:?}");

    // Silent peers that were asked for answer nothing, and are asked again, not for ever.
    let idle = ticks(process)?;
    std::thread::sleep(IDLE);
    let used = ticks(process)? - idle;
    println!("{used} ticks in {IDLE:?}");
    assert!(used <= IDLE_TICKS, "{used} ticks");
    Ok(())
}
