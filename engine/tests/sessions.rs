//! Two engines in memory: handshakes, data, timers, roaming.

mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::DropReason;
use pair::{Node, Pair, packet, packet6, peer};
use proto::key::PrivateKey;
use proto::uapi::{PeerChange, Set};

const SECOND: Duration = Duration::from_secs(1);

fn kinds(sent: &[(SocketAddr, Vec<u8>)]) -> Vec<u8> {
    sent.iter().map(|(_, datagram)| datagram[0]).collect()
}

#[test]
fn packets_wait_for_the_handshake_and_arrive_in_order() {
    let mut pair = Pair::new();
    let packets: Vec<_> = (0..5).map(|n| packet(1, 2, &[n; 30])).collect();
    for packet in &packets {
        pair.a.send(packet, pair.now);
    }
    assert_eq!(kinds(&pair.a.sent), [1], "one initiation for all of them");
    pair.settle();
    assert_eq!(pair.b.delivered, packets);

    // The answering side learnt where the asking side is.
    let answer = packet6(2, 1, b"answer");
    pair.b.send(&answer, pair.now);
    pair.settle();
    assert_eq!(pair.a.delivered, [answer]);
}

#[test]
fn lengths_are_padded_on_the_wire_and_exact_inside() {
    let mut pair = Pair::connected();
    for len in [0, 1, 11, 12, 13, 1399, 1400] {
        let packet = packet(1, 2, &vec![7; len]);
        pair.a.send(&packet, pair.now);
        let sealed = pair.a.sent[0].1.len() - 32;
        assert!(sealed.is_multiple_of(16) || sealed == usize::from(pair::MTU), "{sealed}");
        pair.settle();
        assert_eq!(pair.b.delivered.pop(), Some(packet));
    }
}

#[test]
fn a_session_is_replaced_after_two_minutes_and_loses_nothing() {
    let mut pair = Pair::connected();
    let before = pair.a.engine.peers()[0].last_handshake;
    for n in 0..150u8 {
        pair.advance(SECOND, true);
        pair.a.send(&packet(1, 2, &[n]), pair.now);
        pair.b.send(&packet(2, 1, &[n]), pair.now);
        pair.settle();
    }
    assert_eq!(pair.b.delivered.len(), 150);
    assert_eq!(pair.a.delivered.len(), 150);
    let after = pair.a.engine.peers()[0].last_handshake;
    let age = after.unwrap() - before.unwrap();
    assert!((120 * SECOND..124 * SECOND).contains(&age), "rekeyed after {age:?}");
    assert_eq!(pair.b.engine.peers()[0].last_handshake, after, "both know when");
}

#[test]
fn an_idle_session_ends_and_costs_no_more_wakes() {
    let mut pair = Pair::connected();
    pair.advance(600 * SECOND, true);
    assert_eq!(pair.a.engine.poll_timeout(), None);
    assert_eq!(pair.b.engine.poll_timeout(), None);
    // Nothing is sent on keys that are gone: the next packet asks anew.
    pair.a.send(&packet(1, 2, b"again"), pair.now);
    assert_eq!(kinds(&pair.a.sent), [1]);
    pair.settle();
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_session_that_is_too_old_carries_nothing() {
    let mut pair = Pair::connected();
    // No timer was served, as on a machine that slept.
    pair.now = pair.now + 181 * SECOND;
    pair.a.send(&packet(1, 2, b"late"), pair.now);
    assert!(!kinds(&pair.a.sent).contains(&4), "no data on an old session");
    pair.settle();
    assert_eq!(pair.b.delivered, [packet(1, 2, b"late")]);
}

#[test]
fn an_unanswered_handshake_is_retried_then_given_up() {
    let mut pair = Pair::new();
    pair.a.send(&packet(1, 2, b"anyone?"), pair.now);
    pair.advance(89 * SECOND, false);
    let tries = kinds(&pair.a.sent).len();
    assert!((15..=18).contains(&tries), "{tries} initiations in 89 s");
    assert_eq!(pair.a.dropped(DropReason::HandshakeTimeout), 0);
    pair.advance(10 * SECOND, false);
    assert_eq!(pair.a.dropped(DropReason::HandshakeTimeout), 1);
    pair.a.sent.clear();
    pair.advance(60 * SECOND, false);
    assert_eq!(kinds(&pair.a.sent), [0u8; 0], "it stays given up");
    pair.a.send(&packet(1, 2, b"now?"), pair.now);
    pair.settle();
    assert_eq!(pair.b.delivered, [packet(1, 2, b"now?")]);
}

#[test]
fn a_received_packet_is_acknowledged_by_a_keepalive() {
    let mut pair = Pair::connected();
    let received = pair.a.engine.peers()[0].rx_bytes;
    pair.a.send(&packet(1, 2, b"one way"), pair.now);
    pair.settle();
    pair.advance(12 * SECOND, true);
    assert_eq!(pair.a.engine.peers()[0].rx_bytes, received + 32);
}

#[test]
fn a_persistent_keepalive_opens_the_session_and_keeps_it_open() {
    let mut pair = Pair::new();
    let change = PeerChange { persistent_keepalive: Some(5), ..PeerChange::new(pair.b.public()) };
    pair.a.change(pair.now, change);
    pair.settle();
    assert!(pair.b.engine.peers()[0].last_handshake.is_some());
    let received = pair.b.engine.peers()[0].rx_bytes;
    pair.advance(26 * SECOND, true);
    let keepalives = (pair.b.engine.peers()[0].rx_bytes - received) / 32;
    assert!((4..=6).contains(&keepalives), "{keepalives} in 26 s");

    // It goes on trying when the peer is away for longer than a handshake is tried.
    pair.advance(700 * SECOND, false);
    pair.a.sent.clear();
    pair.b.sent.clear();
    pair.advance(20 * SECOND, true);
    assert!(pair.now - pair.b.engine.peers()[0].last_handshake.unwrap() < 30 * SECOND);
}

#[test]
fn a_peer_that_moves_is_followed_by_its_first_authentic_message() {
    let mut pair = Pair::connected();
    pair.a.address = "198.51.100.9:4".parse().unwrap();
    pair.a.send(&packet(1, 2, b"I moved"), pair.now);
    pair.settle();
    pair.b.send(&packet(2, 1, b"I see"), pair.now);
    assert_eq!(pair.b.sent[0].0, pair.a.address);

    // A forged message from elsewhere moves nothing.
    let mut forged = pair.b.sent[0].1.clone();
    forged[20] ^= 1;
    pair.settle();
    pair.b.receive("203.0.113.5:1".parse().unwrap(), &forged, pair.now);
    pair.b.send(&packet(2, 1, b"still there"), pair.now);
    assert_eq!(pair.b.sent[0].0, pair.a.address);
}

#[test]
fn preshared_keys_must_agree() {
    let mut pair = Pair::new();
    pair.preshared(Some([5; 32]), Some([6; 32]));
    pair.a.send(&packet(1, 2, b"psk"), pair.now);
    pair.settle();
    assert!(pair.b.delivered.is_empty());
    assert_eq!(pair.a.dropped(DropReason::HandshakeRejected), 1);

    pair.preshared(Some([6; 32]), Some([6; 32]));
    pair.advance(7 * SECOND, true);
    pair.a.send(&packet(1, 2, b"psk"), pair.now);
    pair.settle();
    assert!(!pair.b.delivered.is_empty());
}

#[test]
fn a_new_private_key_ends_sessions_and_takes_over() {
    let mut pair = Pair::connected();
    let old = pair.a.public();
    let key = PrivateKey::from([9; 32]);
    let set = Set { private_key: Some(Some(key)), ..Set::default() };
    pair.a.configure(&set, pair.now);
    let new = pair.a.public();
    let remove = PeerChange { remove: true, ..PeerChange::new(old) };
    pair.b.change(pair.now, remove);
    pair.b.change(pair.now, peer(new, 1));
    pair.a.send(&packet(1, 2, b"renewed"), pair.now);
    assert_eq!(kinds(&pair.a.sent), [1]);
    pair.settle();
    assert_eq!(pair.b.delivered, [packet(1, 2, b"renewed")]);
    assert_eq!(pair.b.engine.peers().len(), 1);
}

#[test]
fn both_may_ask_at_once() {
    let mut pair = Pair::new();
    let know = PeerChange { endpoint: Some(pair.a.address), ..PeerChange::new(pair.a.public()) };
    pair.b.change(pair.now, know);
    for _ in 0..3 {
        pair.a.send(&packet(1, 2, b"a"), pair.now);
        pair.b.send(&packet(2, 1, b"b"), pair.now);
        pair.settle();
        pair.advance(6 * SECOND, true);
    }
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (3, 3));
}

#[test]
fn configuration_follows_the_kernels_rules() {
    let mut node = Node::new(1);
    let (own, other) = (node.public(), Node::new(2).public());
    node.change(pair::START, peer(own, 1));
    assert!(node.engine.peers().is_empty(), "nobody is their own peer");
    node.change(pair::START, PeerChange { update_only: true, ..peer(other, 2) });
    assert!(node.engine.peers().is_empty(), "update_only adds nobody");

    node.change(pair::START, peer(other, 2));
    let third = Node::new(3).public();
    node.change(pair::START, peer(third, 2));
    let peers = node.engine.peers();
    assert_eq!(peers[0].allowed_ips.len(), 0, "a network has one owner, the last");
    assert_eq!(peers[1].allowed_ips.len(), 2);

    let fourth = peer(Node::new(4).public(), 4);
    let set = Set { replace_peers: true, peers: vec![fourth], ..Set::default() };
    node.configure(&set, pair::START);
    assert_eq!(node.engine.peers().len(), 1);
}
