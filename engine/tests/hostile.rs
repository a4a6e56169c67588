//! What a bad network or a bad peer does, and that each drop is counted by its reason.

mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::DropReason;
use pair::{Node, Pair, packet, packet6};
use proptest::prelude::*;
use proto::uapi::PeerChange;

/// What the link does to one datagram.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Deliver,
    Lose,
    Duplicate,
    /// Let this many later datagrams overtake it.
    Delay(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Deliver),
        1 => Just(Fate::Lose),
        1 => Just(Fate::Duplicate),
        2 => (1usize..900).prop_map(Fate::Delay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_packet_that_arrives_is_delivered_once(
        fates in proptest::collection::vec(fate(), 1..1500),
    ) {
        let mut pair = Pair::connected();
        let mut arrivals = Vec::new();
        let mut expected = Vec::new();
        for (n, fate) in fates.iter().enumerate() {
            let packet = packet(1, 2, &u32::try_from(n).unwrap().to_be_bytes());
            pair.a.send(&packet, pair.now);
            let (_, datagram) = pair.a.sent.pop().unwrap();
            let copies: &[usize] = match fate {
                Fate::Deliver => &[0],
                Fate::Lose => &[],
                Fate::Duplicate => &[0, 0],
                Fate::Delay(by) => &[*by],
            };
            arrivals.extend(copies.iter().map(|by| (n + by, datagram.clone())));
            if !copies.is_empty() {
                expected.push(packet);
            }
        }
        arrivals.sort_by_key(|&(at, _)| at);
        let duplicates = arrivals.len() - expected.len();
        for (_, datagram) in &arrivals {
            pair.b.receive(pair.a.address, datagram, pair.now);
        }
        pair.b.delivered.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&pair.b.delivered, &expected);
        prop_assert_eq!(pair.b.dropped(DropReason::Replayed), duplicates as u64);
    }

    #[test]
    fn any_datagram_is_survived(
        head in prop_oneof![Just(1u8), Just(2), Just(3), Just(4), any::<u8>()],
        len in prop_oneof![Just(148usize), Just(92), Just(64), 0usize..200],
        body in proptest::collection::vec(any::<u8>(), 200),
    ) {
        let mut pair = Pair::connected();
        let mut datagram = body[..len].to_vec();
        for (byte, value) in datagram.iter_mut().zip([head, 0, 0, 0]) {
            *byte = value;
        }
        pair.b.receive(pair.a.address, &datagram, pair.now);
        prop_assert!(pair.b.delivered.is_empty());
        prop_assert_eq!(pair.b.engine.drops().iter().map(|(_, n)| n).sum::<u64>(), 1);
    }

    #[test]
    fn any_change_to_a_datagram_is_noticed(at in 0usize..80, flip in 1u8..) {
        let mut pair = Pair::connected();
        pair.a.send(&packet(1, 2, &[0; 28]), pair.now);
        let (_, mut datagram) = pair.a.sent.pop().unwrap();
        datagram[at] ^= flip;
        pair.b.receive(pair.a.address, &datagram, pair.now);
        prop_assert!(pair.b.delivered.is_empty());
        prop_assert_eq!(pair.b.engine.drops().iter().map(|(_, n)| n).sum::<u64>(), 1);
    }
}

#[test]
fn beyond_the_replay_window_nothing_is_accepted() {
    let mut pair = Pair::connected();
    for n in 0..1100u32 {
        pair.a.send(&packet(1, 2, &n.to_be_bytes()), pair.now);
    }
    let sent = std::mem::take(&mut pair.a.sent);
    pair.b.receive(pair.a.address, &sent[1099].1, pair.now);
    for (_, datagram) in &sent[..1099] {
        pair.b.receive(pair.a.address, datagram, pair.now);
    }
    let (delivered, replayed) = (pair.b.delivered.len(), pair.b.dropped(DropReason::Replayed));
    assert_eq!(delivered as u64 + replayed, 1100);
    assert!((1024..=1026).contains(&delivered), "{delivered}");
}

#[test]
fn a_peer_may_use_only_addresses_that_the_whole_table_gives_it() {
    let mut pair = Pair::connected();
    // The peer's network is wide, but a narrower one inside it is another's.
    let wide = PeerChange {
        allowed_ips: vec![proto::uapi::AllowedIpChange::Add("10.0.0.0/24".parse().unwrap())],
        ..PeerChange::new(pair.a.public())
    };
    pair.b.change(pair.now, wide);
    pair.b.change(pair.now, pair::peer(Node::new(3).public(), 3));
    let b_as_all = PeerChange {
        allowed_ips: vec![proto::uapi::AllowedIpChange::Add("0.0.0.0/0".parse().unwrap())],
        ..PeerChange::new(pair.b.public())
    };
    pair.a.change(pair.now, b_as_all);
    pair.a.send(&packet(9, 2, b"mine"), pair.now);
    pair.a.send(&packet(3, 2, b"another's"), pair.now);
    pair.a.send(&packet6(3, 2, b"another's"), pair.now);
    pair.settle();
    assert_eq!(pair.b.delivered, [packet(9, 2, b"mine")]);
    assert_eq!(pair.b.dropped(DropReason::SourceNotAllowed), 2);
}

#[test]
fn outgoing_packets_without_a_way_are_counted() {
    let mut pair = Pair::new();
    pair.a.send(&packet(1, 77, b"nobody"), pair.now);
    pair.a.send(b"not ip at all", pair.now);
    pair.a.send(&packet(1, 2, b"short")[..22], pair.now);
    pair.b.send(&packet(2, 1, b"where?"), pair.now);
    assert_eq!(pair.a.dropped(DropReason::NoPeer), 1);
    assert_eq!(pair.a.dropped(DropReason::HostNotIp), 2);
    assert_eq!(pair.b.dropped(DropReason::NoEndpoint), 1);
    for n in 0..200 {
        pair.a.send(&packet(1, 2, &[n]), pair.now);
    }
    assert_eq!(pair.a.dropped(DropReason::QueueFull), 200 - 128);
    pair.settle();
    assert_eq!(pair.b.delivered.first(), Some(&packet(1, 2, &[72])), "the oldest had to go");
    assert_eq!(pair.b.delivered.len(), 128);
}

#[test]
fn inner_packets_must_be_whole() {
    let mut pair = Pair::connected();
    // Sealed by hand: the engine itself would not send them.
    let mut claims_more = packet(1, 2, b"..");
    claims_more[2..4].copy_from_slice(&1000u16.to_be_bytes());
    assert!(engine::inner_addresses(&claims_more).is_none());
    pair.a.send(&claims_more, pair.now);
    assert_eq!(pair.a.dropped(DropReason::HostNotIp), 1);
}

#[test]
fn strangers_and_forgers_are_told_nothing() {
    let mut pair = Pair::new();
    let stranger: SocketAddr = "203.0.113.1:7".parse().unwrap();
    pair.a.send(&packet(1, 2, b"x"), pair.now);
    let (_, initiation) = pair.a.sent.pop().unwrap();

    let mut no_mac = initiation.clone();
    no_mac[120] ^= 1;
    pair.b.receive(stranger, &no_mac, pair.now);
    assert_eq!(pair.b.dropped(DropReason::BadMac1), 1);

    pair.b.receive(stranger, b"GET / HTTP/1.0\r\n\r\n", pair.now);
    assert_eq!(pair.b.dropped(DropReason::NotWireGuard), 1);

    let mut unknown = Node::new(7);
    let to_b = PeerChange { endpoint: Some(pair.b.address), ..pair::peer(pair.b.public(), 2) };
    unknown.change(pair.now, to_b);
    unknown.send(&packet(7, 2, b"let me in"), pair.now);
    let (_, asked) = unknown.sent.pop().unwrap();
    pair.b.receive(unknown.address, &asked, pair.now);
    assert_eq!(pair.b.dropped(DropReason::UnknownPeer), 1);
    assert!(pair.b.sent.is_empty(), "no answer to any of them");

    // A replay of a true initiation: answered once only, and the session stays.
    pair.b.receive(pair.a.address, &initiation, pair.now);
    pair.settle();
    let later = pair.now + Duration::from_secs(1);
    pair.b.receive(stranger, &initiation, later);
    assert_eq!(pair.b.dropped(DropReason::HandshakeRejected), 1);
    assert!(pair.b.sent.is_empty());
}

#[test]
fn a_flood_of_handshakes_is_met_with_cookies() {
    let mut pair = Pair::new();
    let mut flooder = Node::new(8);
    let to_b = PeerChange { endpoint: Some(pair.b.address), ..pair::peer(pair.b.public(), 2) };
    flooder.change(pair.now, to_b);
    flooder.send(&packet(8, 2, b"flood"), pair.now);
    let (_, initiation) = flooder.sent.pop().unwrap();
    for _ in 0..600 {
        pair.b.receive(flooder.address, &initiation, pair.now);
    }
    let cookies = pair.b.dropped(DropReason::UnderLoad);
    assert_eq!(cookies, 600 - 512);
    assert_eq!(pair.b.sent.len() as u64, cookies);
    assert!(pair.b.sent.iter().all(|(_, reply)| reply.len() == 64 && reply[0] == 3));

    // An honest peer takes its cookie and comes back with it, through the load.
    pair.b.sent.clear();
    pair.a.send(&packet(1, 2, b"honest"), pair.now);
    pair.settle();
    assert!(pair.b.delivered.is_empty());
    let flood = |pair: &mut Pair| {
        for _ in 0..600 {
            pair.b.receive(flooder.address, &initiation, pair.now);
        }
        pair.b.sent.clear();
    };
    for _ in 0..7 {
        pair.now = pair.now + Duration::from_secs(1);
        flood(&mut pair);
        pair.a.pass_time(pair.now);
        pair.settle();
    }
    assert_eq!(pair.b.delivered, [packet(1, 2, b"honest")]);

    // A source that returns its cookie but asks too often gets only its share.
    let (_, cookie) = {
        pair.b.receive(flooder.address, &initiation, pair.now);
        pair.b.sent.pop().unwrap()
    };
    flooder.receive(pair.b.address, &cookie, pair.now);
    let mut proven = Vec::new();
    for n in 1..=20u64 {
        // Each retry is a new initiation that carries the cookie.
        let at = pair.now + Duration::from_secs(6 * n);
        flooder.pass_time(at);
        proven.append(&mut flooder.sent);
        if n > 13 {
            flooder.send(&packet(8, 2, b"flood"), at);
        }
    }
    for (_, initiation) in &proven {
        pair.b.receive(flooder.address, initiation, pair.now);
    }
    assert!(pair.b.dropped(DropReason::SourceRateLimited) > 0, "{:?}", pair.b.engine.drops());
}

#[test]
fn unknown_indices_are_counted() {
    let mut pair = Pair::connected();
    let mut stray = [0; 32];
    stray[0] = 4;
    pair.b.receive(pair.a.address, &stray, pair.now);
    let mut response = [0; 92];
    response[0] = 2;
    pair.b.receive(pair.a.address, &response, pair.now);
    assert_eq!(pair.b.dropped(DropReason::UnknownIndex), 1);
    assert_eq!(pair.b.dropped(DropReason::BadMac1), 1);
    assert!(pair.b.sent.is_empty());
}
