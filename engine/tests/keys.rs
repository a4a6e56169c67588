//! Keys that change under traffic, and ways that are chosen from outside.

mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use engine::{KeyChange, Output, PathChange};
use pair::{Node, Pair, packet};
use proto::key::{PrivateKey, PublicKey};

const SECOND: Duration = Duration::from_secs(1);

fn change(node: &mut Node, change: &KeyChange, pair_now: engine::Timestamp) {
    node.engine.change_key(change, pair_now);
    node.pass_time(pair_now);
}

/// Sends one packet each way every 100 ms, for so long; all have to arrive.
fn talk(pair: &mut Pair, time: Duration) {
    for n in 0..u8::try_from(time.as_millis() / 100).expect("some seconds") {
        pair.advance(SECOND / 10, true);
        pair.a.send(&packet(1, 2, &[n]), pair.now);
        pair.b.send(&packet(2, 1, &[n]), pair.now);
        pair.settle();
        assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1), "packet {n}");
        pair.a.delivered.clear();
        pair.b.delivered.clear();
    }
}

fn new_key() -> (PrivateKey, PublicKey) {
    let private = PrivateKey::from([77; 32]);
    let public = engine::public_key(&private);
    (private, public)
}

#[test]
fn a_peer_that_expects_the_next_key_takes_it_without_a_loss() {
    let mut pair = Pair::connected();
    let (old, (private, next)) = (pair.a.public(), new_key());
    change(&mut pair.b, &KeyChange::Expect { peer: old, next: Some(next) }, pair.now);
    talk(&mut pair, SECOND);
    change(&mut pair.a, &KeyChange::Own(private), pair.now);
    talk(&mut pair, SECOND);
    assert_eq!(pair.b.engine.peers()[0].public_key, next, "promoted by the handshake alone");
    change(&mut pair.b, &KeyChange::Rename { peer: old, to: next }, pair.now);
    talk(&mut pair, SECOND * 20);
    pair.advance(SECOND * 200, true);
    talk(&mut pair, SECOND);
    let peers = pair.b.engine.peers();
    assert_eq!((peers.len(), peers[0].public_key), (1, next));
}

#[test]
fn old_sessions_serve_until_the_peer_hears_of_the_key() {
    let mut pair = Pair::connected();
    let (old, (private, next)) = (pair.a.public(), new_key());
    change(&mut pair.a, &KeyChange::Own(private), pair.now);
    talk(&mut pair, SECOND * 20);
    let handshake = pair.b.engine.peers()[0].last_handshake;
    change(&mut pair.b, &KeyChange::Rename { peer: old, to: next }, pair.now);
    talk(&mut pair, SECOND * 20);
    assert!(pair.b.engine.peers()[0].last_handshake > handshake, "a session by the new key");
}

#[test]
fn both_may_change_at_once() {
    let mut pair = Pair::connected();
    let (old_a, old_b) = (pair.a.public(), pair.b.public());
    let (private_a, next_a) = new_key();
    let private_b = PrivateKey::from([78; 32]);
    let next_b = engine::public_key(&private_b);
    change(&mut pair.a, &KeyChange::Own(private_a), pair.now);
    change(&mut pair.b, &KeyChange::Own(private_b), pair.now);
    talk(&mut pair, SECOND);
    change(&mut pair.a, &KeyChange::Rename { peer: old_b, to: next_b }, pair.now);
    change(&mut pair.b, &KeyChange::Rename { peer: old_a, to: next_a }, pair.now);
    talk(&mut pair, SECOND * 20);
    assert_eq!(pair.a.engine.peers()[0].public_key, next_b);
    assert_eq!(pair.b.engine.peers()[0].public_key, next_a);
}

#[test]
fn an_initiation_by_a_key_that_nobody_named_is_refused() {
    let mut pair = Pair::connected();
    let (private, _) = new_key();
    change(&mut pair.a, &KeyChange::Own(private), pair.now);
    pair.settle();
    assert_eq!(pair.b.dropped(dataplane_common::DropReason::UnknownPeer), 1);
}

#[test]
fn a_removed_peer_leaves_no_key_behind() {
    let mut pair = Pair::connected();
    let (old, (_, next)) = (pair.a.public(), new_key());
    change(&mut pair.b, &KeyChange::Expect { peer: old, next: Some(next) }, pair.now);
    let gone = proto::uapi::PeerChange { remove: true, ..proto::uapi::PeerChange::new(old) };
    let now = pair.now;
    pair.b.change(now, gone);
    assert!(pair.b.engine.peers().is_empty());
    pair.b.change(now, pair::peer(next, 1));
    assert_eq!(pair.b.engine.peers()[0].public_key, next);
}

#[test]
fn a_probe_that_is_answered_moves_the_peer_off_its_relay_and_relayed_packets_do_not_move_it_back() {
    let mut pair = Pair::connected();
    // A second initiation within milliseconds is not answered.
    pair.advance(SECOND, true);
    let relay: SocketAddr = "127.0.0.1:4000".parse().unwrap();
    let (for_a, for_b, now) = (pair.b.public(), pair.a.public(), pair.now);
    let mut out = Output::default();
    for (node, peer) in [(&mut pair.a, for_a), (&mut pair.b, for_b)] {
        for change in [PathChange::Relay(relay), PathChange::Use(relay)] {
            node.engine.change_path(&peer, &change, now, &mut out);
        }
    }
    pair.a.send(&packet(1, 2, b"relayed"), now);
    let (to, sealed) = pair.a.sent.remove(0);
    assert_eq!(to, relay);

    let addresses = vec!["198.51.100.9:1".parse().unwrap(), pair.b.address];
    pair.a.engine.change_path(&for_a, &PathChange::Probe(addresses), now, &mut out);
    let probes: Vec<_> =
        out.transmits.iter().map(|batch| (batch.to.address, batch.bytes.to_vec())).collect();
    assert_eq!(probes.len(), 2);
    pair.a.sent.extend(probes);
    pair.settle();
    assert_eq!(pair.a.engine.peers()[0].endpoint.unwrap().address, pair.b.address);
    assert_eq!(pair.b.engine.peers()[0].endpoint.unwrap().address, pair.a.address);

    pair.b.receive(relay, &sealed, now);
    assert_eq!(pair.b.delivered.len(), 1, "it was under way by the relay");
    assert_eq!(pair.b.engine.peers()[0].endpoint.unwrap().address, pair.a.address);
}
