//! Changes of the configuration while packets flow.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{
    INNER_A, INNER_B, Implementation, KeyFile, KeyPair, OUTER_A, OUTER_B, Pairing, PeerSettings,
    Tunnel, preshared_key, wired_hosts,
};
use netns_tests::{Host, Lab, Pinger, answers, ping, ping_sized, tcp_transfer, wait_until};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for an echo between two hosts that talk, short enough to be spent in vain.
const MOMENT: Duration = Duration::from_secs(1);
const RHYTHM: Duration = Duration::from_millis(20);

/// Two tunnels that have shaken hands, either end told where the other is.
fn talking<'h>([a, b]: &'h [Host; 2]) -> Result<[Tunnel<'h>; 2]> {
    let tunnels =
        [Tunnel::start(a, Implementation::Nearwire)?, Tunnel::start(b, Implementation::Nearwire)?];
    Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
    ping(a, INNER_B[0])?;
    Ok(tunnels)
}

/// When the last handshake was, to the nanosecond (`wg` shows seconds).
fn handshake(tunnel: &Tunnel<'_>) -> Result<String> {
    let answer = tunnel.request("get=1")?;
    Ok(answer.lines().filter(|line| line.starts_with("last_handshake_time")).collect())
}

#[test]
fn syncconf_keeps_sessions() -> Result<()> {
    let lab = Lab::new("sync")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    let pinger = Pinger::start(&hosts[0], INNER_B[0], RHYTHM)?;
    let before = handshake(&a)?;
    let written = hosts[0].run(["wg", "showconf", a.name()])?.stdout;
    let another = KeyPair::generate()?.public;
    let more = format!("{written}\n[Peer]\nPublicKey = {another}\nAllowedIPs = 10.77.0.0/16\n");
    for text in [&written, &more, &written] {
        let file = KeyFile::new(text)?;
        hosts[0].run(["wg", "syncconf", a.name(), &file.path()])?;
        pinger.wait_for_more(5, SOON)?;
    }
    assert_eq!(handshake(&a)?, before);
    assert_eq!(pinger.finish()?.lost(), 0);
    assert_eq!(b.show()?.peers.len(), 1);
    Ok(())
}

#[test]
fn a_removed_peer_is_heard_no_more_and_comes_back() -> Result<()> {
    let lab = Lab::new("remove")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    a.remove_peer(&b)?;
    assert!(!answers(&hosts[0], INNER_B[0], MOMENT)?);
    assert!(!answers(&hosts[1], INNER_A[0], MOMENT)?);
    let settings = PeerSettings {
        allowed_ips: "10.9.0.2/32",
        endpoint: OUTER_B[0].parse().ok(),
        ..PeerSettings::default()
    };
    a.add_peer(&b, &settings)?;
    ping(&hosts[0], INNER_B[0])
}

#[test]
fn a_preshared_key_must_be_the_same_at_both_ends() -> Result<()> {
    let lab = Lab::new("psk")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    let key = preshared_key()?;
    let file = KeyFile::new(&key)?;
    // Sessions made without it end at once.
    a.set(["peer", b.public_key(), "preshared-key", &file.path()])?;
    assert!(!answers(&hosts[0], INNER_B[0], MOMENT)?);
    b.set(["peer", a.public_key(), "preshared-key", &file.path()])?;
    // The handshake is tried again every five seconds.
    wait_until(SOON, "traffic with the key at both ends", || {
        answers(&hosts[0], INNER_B[0], MOMENT).unwrap_or(false)
    });
    ping(&hosts[1], INNER_A[0])
}

#[test]
fn the_port_moves_while_traffic_flows() -> Result<()> {
    let lab = Lab::new("port")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    let pinger = Pinger::start(&hosts[0], INNER_B[0], RHYTHM)?;
    for port in [4001, 4002, 0, 4003] {
        a.set(["listen-port", &port.to_string()])?;
        let shown = a.show()?.listen_port;
        assert!(if port == 0 { shown > 1023 } else { shown == port }, "{shown} for {port}");
        pinger.wait_for_more(3, SOON)?;
        let seen = b.peer(&a)?.endpoint.map(|endpoint| endpoint.port());
        assert_eq!(seen, Some(shown));
    }
    // An answer that is under way to the old port may be lost each time.
    assert!(pinger.finish()?.lost() <= 4);
    Ok(())
}

#[test]
fn a_port_in_use_is_refused_and_the_old_one_stays() -> Result<()> {
    let lab = Lab::new("in use")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    let pinger = Pinger::start(&hosts[0], INNER_B[0], RHYTHM)?;
    let before = a.show()?;
    let _taken = hosts[0].enter(|| UdpSocket::bind("0.0.0.0:4711"))??;
    let refused = a.set(["listen-port", "4711", "fwmark", "9"]).unwrap_err().to_string();
    assert!(refused.contains("Address already in use"), "{refused}");
    let after = a.show()?;
    assert_eq!((after.listen_port, after.fwmark), (before.listen_port, before.fwmark));
    pinger.wait_for_more(5, SOON)?;
    assert_eq!(pinger.finish()?.lost(), 0);
    assert_eq!(b.peer(&a)?.endpoint.map(|endpoint| endpoint.port()), Some(before.listen_port));
    Ok(())
}

#[test]
fn the_mark_is_on_every_datagram() -> Result<()> {
    let lab = Lab::new("mark")?;
    let hosts = wired_hosts(&lab)?;
    let [a, _b] = talking(&hosts)?;
    // What is marked goes nowhere.
    hosts[0].ip(["rule", "add", "fwmark", "0x2a", "lookup", "77"])?;
    hosts[0].ip(["route", "add", "blackhole", "default", "table", "77"])?;
    ping(&hosts[0], INNER_B[0])?;
    a.set(["fwmark", "0x2a"])?;
    assert!(!answers(&hosts[0], INNER_B[0], MOMENT)?);
    a.set(["fwmark", "0x2b"])?;
    ping(&hosts[0], INNER_B[0])?;
    // A port opened later is marked as well.
    a.set(["fwmark", "0x2a", "listen-port", "4001"])?;
    assert!(!answers(&hosts[0], INNER_B[0], MOMENT)?);
    a.set(["fwmark", "off"])?;
    ping(&hosts[0], INNER_B[0])
}

#[test]
fn a_new_private_key_is_used_at_once() -> Result<()> {
    let lab = Lab::new("rekey")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    let fresh = KeyPair::generate()?;
    a.set_private_key(&fresh.private)?;
    // The other end knows the old key only.
    assert!(!answers(&hosts[1], INNER_A[0], MOMENT)?);
    b.remove_peer(&a)?;
    let endpoint = format!("{}:{}", OUTER_A[0], a.port());
    b.set(["peer", &fresh.public, "allowed-ips", "10.9.0.1/32", "endpoint", &endpoint])?;
    ping(&hosts[1], INNER_A[0])?;
    ping(&hosts[0], INNER_B[0])?;
    assert!(b.show()?.peer(&fresh.public)?.latest_handshake > 0);
    assert_eq!(a.show()?.public_key, Some(fresh.public));
    Ok(())
}

#[test]
fn the_engine_follows_the_mtu() -> Result<()> {
    let lab = Lab::new("mtu")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = talking(&hosts)?;
    // A packet as long as the MTU is padded no further: 32 bytes on top, on the wire.
    for mtu in [1290, 1413, 1300] {
        a.set_mtu(mtu)?;
        wait_until(SOON, "messages no longer than the MTU asks for", || {
            let sent = || a.peer(&b).map(|peer| peer.tx).unwrap_or_default();
            let before = sent();
            // 28 bytes are the headers of IPv4 and ICMP.
            ping_sized(&hosts[0], INNER_B[0], mtu - 28).expect("an echo as long as the MTU");
            sent() - before == u64::from(mtu) + 32
        });
    }
    a.set_mtu(1280)?;
    for address in INNER_B {
        ping_sized(&hosts[0], address, 9000)?;
        tcp_transfer(&hosts[0], &hosts[1], address.parse()?, 1 << 20, SOON)?;
    }
    // Larger than the path outside: the datagrams are fragmented.
    for tunnel in [&a, &b] {
        tunnel.set_mtu(4000)?;
    }
    for address in INNER_B {
        ping_sized(&hosts[0], address, 3900)?;
        tcp_transfer(&hosts[1], &hosts[0], INNER_A[0].parse()?, 1 << 20, SOON)?;
    }
    Ok(())
}
