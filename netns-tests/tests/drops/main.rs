//! Every reason for which the tunnel drops a packet, provoked by a real one.
//!
//! Those of the policy are in `policy`, and a handshake that is given up, which takes 90 s, is in
//! `interop`, beside what takes as long.

mod hostile;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dataplane_common::DropReason;
use hostile::Hostile;
use netns_tests::wireguard::{Implementation, KeyPair, Tunnel};
use netns_tests::{Host, Lab, wait_until};

const B: &str = "10.0.0.2";
const SOON: Duration = Duration::from_secs(10);

/// Two hosts on a wire; nearwire runs in `b`.
struct Scene {
    a: Host,
    b: Host,
    _lab: Lab,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (a, b) = (lab.host("a")?, lab.host("b")?);
        lab.link(&a, &b).at_a(&["10.0.0.1/24"]).at_b(&["10.0.0.2/24"]).veth()?;
        Ok(Self { a, b, _lab: lab })
    }

    /// nearwire in `b`, up, as 10.9.0.2, without a peer.
    fn tunnel(&self) -> Result<Tunnel<'_>> {
        let tunnel = Tunnel::start(&self.b, Implementation::Nearwire)?;
        tunnel.configure(&["10.9.0.2/24"])?;
        Ok(tunnel)
    }

    /// A peer that `tunnel` knows, at 10.9.0.1, with keys of its own.
    fn hostile(&self, tunnel: &Tunnel<'_>) -> Result<Hostile> {
        let keys = KeyPair::generate()?;
        tunnel.set(["peer", &keys.public, "allowed-ips", "10.9.0.1/32"])?;
        self.stranger(&keys, tunnel)
    }

    fn stranger(&self, keys: &KeyPair, tunnel: &Tunnel<'_>) -> Result<Hostile> {
        Hostile::new(&self.a, keys, tunnel, SocketAddr::new(B.parse()?, tunnel.port()))
    }
}

fn dropped(tunnel: &Tunnel<'_>, reason: DropReason) -> u64 {
    tunnel.dropped(reason.label()).unwrap_or(0)
}

/// Waits until the reason was counted this often, and no more often.
#[track_caller]
fn counted(tunnel: &Tunnel<'_>, reason: DropReason, times: u64) {
    wait_until(SOON, reason.label(), || dropped(tunnel, reason) >= times);
    assert_eq!(dropped(tunnel, reason), times, "{}", reason.label());
}

/// An IPv4 packet between two tunnel addresses that ends in `number`.
fn packet(from: u8, to: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([10, 9, 0, from, 10, 9, 0, to, 0, 9, 0, 9, 0, 8, 0, 0]);
    packet
}

#[test]
fn what_strangers_send() -> Result<()> {
    let scene = Scene::new("strangers")?;
    let tunnel = scene.tunnel()?;
    let mut stranger = scene.stranger(&KeyPair::generate()?, &tunnel)?;

    stranger.send(b"GET / HTTP/1.0\r\n\r\n")?;
    stranger.send(b"")?;
    counted(&tunnel, DropReason::NotWireGuard, 2);

    let mut initiation = stranger.initiation()?;
    stranger.send(&initiation)?;
    counted(&tunnel, DropReason::UnknownPeer, 1);
    initiation[120] ^= 1;
    stranger.send(&initiation)?;
    counted(&tunnel, DropReason::BadMac1, 1);

    let mut stray = [0; 32];
    stray[0] = 4;
    stranger.send(&stray)?;
    counted(&tunnel, DropReason::UnknownIndex, 1);
    Ok(())
}

#[test]
fn what_a_peer_that_breaks_the_rules_sends() -> Result<()> {
    let scene = Scene::new("hostile")?;
    let tunnel = scene.tunnel()?;
    let mut peer = scene.hostile(&tunnel)?;

    let initiation = peer.initiation()?;
    peer.send(&initiation)?;
    let response = peer.receive()?;
    let keepalive = peer.take(&response)?.context("no keepalive")?;
    peer.send(&keepalive)?;
    // Later than the shortest time between two handshakes of one peer, or within: refused.
    peer.send(&initiation)?;
    counted(&tunnel, DropReason::HandshakeRejected, 1);

    let whole = peer.seal(&packet(1, 2))?;
    peer.send(&whole)?;
    peer.send(&whole)?;
    counted(&tunnel, DropReason::Replayed, 1);

    let mut forged = peer.seal(&packet(1, 2))?;
    forged[20] ^= 1;
    peer.send(&forged)?;
    counted(&tunnel, DropReason::BadTag, 1);

    let mut beyond = peer.seal(&packet(1, 2))?;
    beyond[8..16].fill(0xff);
    peer.send(&beyond)?;
    counted(&tunnel, DropReason::MessageLimit, 1);

    let message = peer.seal(&packet(3, 2))?;
    peer.send(&message)?;
    counted(&tunnel, DropReason::SourceNotAllowed, 1);

    let mut longer_than_it_is = packet(1, 2);
    longer_than_it_is[2] = 9;
    for inner in [b"no packet of IP at all".as_slice(), &longer_than_it_is] {
        let message = peer.seal(inner)?;
        peer.send(&message)?;
    }
    counted(&tunnel, DropReason::InnerNotIp, 2);
    Ok(())
}

#[test]
fn a_flood_of_handshakes() -> Result<()> {
    let scene = Scene::new("flood")?;
    let tunnel = scene.tunnel()?;
    let mut peer = scene.hostile(&tunnel)?;
    let initiation = peer.initiation()?;

    let flood = |peer: &Hostile| (0..600).try_for_each(|_| peer.send(&initiation));
    // Load is what arrives within one second: a flood that the second's end cuts in two is none,
    // so there are several tries, each bounded.
    let cookie = (0..20).find_map(|_| {
        flood(&peer).ok()?;
        peer.receive_cookie()
    });
    // It answers the only initiation that this peer has made.
    peer.take(&cookie.context("no cookie for twenty floods")?)?;
    for _ in 0..20 {
        flood(&peer)?;
        for _ in 0..20 {
            let proven = peer.initiation()?;
            peer.send(&proven)?;
        }
        if dropped(&tunnel, DropReason::SourceRateLimited) > 0 {
            break;
        }
    }
    assert!(dropped(&tunnel, DropReason::UnderLoad) > 0);
    assert!(dropped(&tunnel, DropReason::SourceRateLimited) > 0);
    Ok(())
}

#[test]
fn what_the_host_sends_in_vain() -> Result<()> {
    let scene = Scene::new("vain")?;
    // Without IPv6, whose own neighbour talk would be counted with ours.
    scene.b.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
    scene.b.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
    let tunnel = scene.tunnel()?;
    let silent = KeyPair::generate()?;
    tunnel.set(["peer", &silent.public, "allowed-ips", "10.9.0.8/32"])?;

    let host = &scene.b;
    host.send_raw(tunnel.name(), &packet(2, 77))?;
    counted(&tunnel, DropReason::NoPeer, 1);
    let mut longer_than_it_is = packet(2, 8);
    longer_than_it_is[2] = 9;
    host.send_raw(tunnel.name(), &longer_than_it_is)?;
    counted(&tunnel, DropReason::HostNotIp, 1);
    host.send_raw(tunnel.name(), &packet(2, 8))?;
    counted(&tunnel, DropReason::NoEndpoint, 1);

    // No route leads there.
    tunnel.set(["peer", &silent.public, "endpoint", "203.0.113.9:9"])?;
    host.send_raw(tunnel.name(), &packet(2, 8))?;
    wait_until(SOON, "send_failed", || dropped(&tunnel, DropReason::SendFailed) > 0);

    for _ in 0..150 {
        host.send_raw(tunnel.name(), &packet(2, 8))?;
    }
    // One waits already.
    counted(&tunnel, DropReason::QueueFull, 150 + 1 - 128);
    Ok(())
}

#[test]
fn an_interface_that_goes_down_under_traffic() -> Result<()> {
    let scene = Scene::new("refused")?;
    let tunnel = scene.tunnel()?;
    let mut peer = scene.hostile(&tunnel)?;
    // Between the interface's end and the daemon's word of it, packets still arrive.
    for _ in 0..50 {
        // An initiation can meet the socket that the last turn's end still closes.
        wait_until(SOON, "a session", || peer.connect().is_ok());
        std::thread::scope(|scope| -> Result<()> {
            let down = scope.spawn(|| tunnel.down());
            while !down.is_finished() {
                for _ in 0..20 {
                    let message = peer.seal(&packet(1, 2))?;
                    peer.send(&message)?;
                }
            }
            down.join().expect("no panic")
        })?;
        tunnel.up()?;
        if dropped(&tunnel, DropReason::HostRefused) > 0 {
            return Ok(());
        }
    }
    panic!("never refused by the host");
}

#[test]
fn every_reason_of_the_tunnel_is_provoked_here() {
    // Kept by hand beside the tests above, so that a new reason is not forgotten.
    use DropReason as Reason;
    let provoked = [
        Reason::NotWireGuard,
        Reason::BadMac1,
        Reason::UnderLoad,
        Reason::SourceRateLimited,
        Reason::UnknownPeer,
        Reason::UnknownIndex,
        Reason::HandshakeRejected,
        Reason::Replayed,
        Reason::BadTag,
        Reason::InnerNotIp,
        Reason::SourceNotAllowed,
        Reason::HostNotIp,
        Reason::NoPeer,
        Reason::NoEndpoint,
        Reason::QueueFull,
        // In `mesh`.
        Reason::TooBig,
        // In `interop`.
        Reason::HandshakeTimeout,
        // In `transparent`.
        Reason::CongestedNotCapable,
        // In `shards`: more TCP than a tunnel can carry.
        Reason::Backlog,
        // In the agent's own tests: a shard has to stand still.
        Reason::HandoverFull,
        Reason::MessageLimit,
        Reason::SendFailed,
        Reason::HostRefused,
    ];
    let missing: Vec<_> = DropReason::ALL
        .into_iter()
        // The policy's and the relay's have tests of their own.
        .filter(|reason| !reason.label().starts_with("policy_") && !reason.is_of_relay())
        .filter(|reason| !provoked.contains(reason))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
