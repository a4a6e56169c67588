//! Lanes: opened, proven, switched, silent.

use std::net::{IpAddr, SocketAddr};

use dataplane_common::DropReason;
use proto::lane::{
    Cookie, LaneId, LaneMessage, LaneRefusal, LaneSecret, Proof as LaneProof, data_header,
};
use proto::relay::{LaneOpened, LaneRefused};

use super::*;
use crate::core::Verdict;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The answers to a datagram, which are never longer than it.
fn ask(scene: &mut Scene, from: SocketAddr, message: &LaneMessage<'_>) -> Vec<u8> {
    let mut asked = Vec::new();
    message.write(&mut asked);
    scene.run(|relay, now, out| relay.lane_message(message, from, None, now.at, out));
    let answers = std::mem::take(&mut scene.datagrams);
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(answer.to, from);
    assert!(answer.bytes.len() <= asked.len(), "an answer is longer than its question");
    answer.bytes.clone()
}

fn challenge(scene: &mut Scene, from: SocketAddr, lane: LaneId) -> Cookie {
    match LaneMessage::parse(&ask(scene, from, &LaneMessage::Bind(lane))) {
        Some(LaneMessage::Challenge(id, cookie)) if id == lane => cookie,
        other => panic!("{other:?}"),
    }
}

fn prove(scene: &mut Scene, from: SocketAddr, proof: LaneProof) -> Result<SocketAddr, LaneRefusal> {
    match LaneMessage::parse(&ask(scene, from, &LaneMessage::Prove(proof))) {
        Some(LaneMessage::Bound(bound)) => Ok(bound.address),
        Some(LaneMessage::Refused(_, why)) => Err(why),
        other => panic!("{other:?}"),
    }
}

pub(super) fn bind(scene: &mut Scene, from: SocketAddr, end: &LaneOpened, nonce: u64) {
    let cookie = challenge(scene, from, end.lane);
    let proof = LaneProof::new(&end.secret, end.lane, cookie, nonce);
    assert_eq!(prove(scene, from, proof), Ok(from));
}

pub(super) fn opened(scene: &mut Scene, client: ClientId) -> LaneOpened {
    match &scene.frames(client)[..] {
        [RelayFrame::LaneOpened(opened)] => opened.clone(),
        other => panic!("{other:?}"),
    }
}

/// Two clients with a lane, nothing bound.
fn pair() -> (Scene, [ClientId; 2], [LaneOpened; 2]) {
    let mut scene = Scene::with_lanes();
    let clients = [1, 2].map(|node| scene.join(1, node));
    scene.frame(clients[0], &ClientFrame::OpenLane(node_key(2)));
    let ends = clients.map(|client| opened(&mut scene, client));
    (scene, clients, ends)
}

fn judge(scene: &Scene, lane: LaneId, from: SocketAddr) -> Verdict {
    judge_at(scene, lane, from, None)
}

fn judge_at(scene: &Scene, lane: LaneId, from: SocketAddr, local: Option<IpAddr>) -> Verdict {
    let datagram = [&data_header(lane)[..], &[7; 100]].concat();
    scene.switch.judge(&datagram, datagram.len(), from, local, scene.now.at)
}

#[test]
fn both_ends_are_told_and_each_has_its_own_id_and_secret() {
    let (mut scene, clients, [a, b]) = pair();
    assert_eq!((a.peer, b.peer), (node_key(2), node_key(1)));
    assert_ne!(a.lane, b.lane);
    assert_ne!(a.secret, b.secret);
    assert_eq!(a.addresses, [address("198.51.100.1:3478")]);
    // Asked again, from either side, it is the same lane.
    scene.frame(clients[1], &ClientFrame::OpenLane(node_key(1)));
    assert_eq!(opened(&mut scene, clients[1]), b);
    assert!(scene.frames(clients[0]).is_empty());
    assert_eq!(scene.relay.totals().lanes, 1);
}

#[test]
fn two_bound_ends_are_switched_from_their_addresses_only() {
    let (mut scene, _, [a, b]) = pair();
    let (home, roof) = (address("192.0.2.1:1000"), address("[2001:db8::2]:2000"));
    assert_eq!(judge(&scene, a.lane, home), Verdict::Drop(DropReason::LaneUnknown));
    bind(&mut scene, home, &a, 1);
    assert_eq!(judge(&scene, a.lane, home), Verdict::Up(a.lane));
    bind(&mut scene, roof, &b, 1);
    let Verdict::Forward(there) = judge(&scene, a.lane, home) else { panic!() };
    assert_eq!((there.to, there.lane), (roof, b.lane));
    let Verdict::Forward(back) = judge(&scene, b.lane, roof) else { panic!() };
    assert_eq!((back.to, back.lane), (home, a.lane));
    let source = Verdict::Drop(DropReason::LaneSource);
    assert_eq!(judge(&scene, a.lane, address("192.0.2.1:1001")), source);
    assert_eq!(judge(&scene, a.lane, address("192.0.2.2:1000")), source);
    assert_eq!(judge(&scene, a.lane, roof), source);
    let elsewhere = Some("198.51.100.9".parse().unwrap());
    assert_eq!(judge_at(&scene, a.lane, home, elsewhere), source);
}

#[test]
fn only_the_owner_binds() {
    let (mut scene, _, [a, b]) = pair();
    let (home, thief) = (address("192.0.2.1:1000"), address("203.0.113.9:9"));
    let cookie = challenge(&mut scene, home, a.lane);
    // The other end's secret, a made-up one, and the right one from where the cookie is not from.
    for secret in [&b.secret, &LaneSecret::from([0; 16])] {
        let proof = LaneProof::new(secret, a.lane, cookie, 1);
        assert_eq!(prove(&mut scene, home, proof), Err(LaneRefusal::BadProof));
    }
    let proof = LaneProof::new(&a.secret, a.lane, cookie, 1);
    assert_eq!(prove(&mut scene, thief, proof), Err(LaneRefusal::BadCookie));
    assert_eq!(prove(&mut scene, home, proof), Ok(home));
    // A replay binds nothing anew, wherever it comes from.
    assert_eq!(prove(&mut scene, home, proof), Err(LaneRefusal::BadProof));
    assert_eq!(prove(&mut scene, thief, proof), Err(LaneRefusal::BadCookie));
    assert_eq!(judge(&scene, a.lane, home), Verdict::Up(a.lane));
}

#[test]
fn an_old_proof_does_not_undo_a_move() {
    let (mut scene, _, [a, _]) = pair();
    let (before, after) = (address("192.0.2.1:1000"), address("192.0.2.1:7777"));
    let cookie = challenge(&mut scene, before, a.lane);
    let old = LaneProof::new(&a.secret, a.lane, cookie, 1);
    assert_eq!(prove(&mut scene, before, old), Ok(before));
    bind(&mut scene, after, &a, 2);
    assert_eq!(prove(&mut scene, before, old), Err(LaneRefusal::BadProof));
    assert_eq!(judge(&scene, a.lane, after), Verdict::Up(a.lane));
    assert_eq!(judge(&scene, a.lane, before), Verdict::Drop(DropReason::LaneSource));
}

#[test]
fn keepalives_keep_and_silence_unbinds() {
    let (mut scene, clients, [a, b]) = pair();
    let (home, roof) = (address("192.0.2.1:1000"), address("192.0.2.2:2000"));
    bind(&mut scene, home, &a, 1);
    bind(&mut scene, roof, &b, 1);
    for number in 0..10 {
        scene.pass(Duration::from_secs(10));
        for client in clients {
            scene.frame(client, &ClientFrame::Pong(0));
        }
        let kept = ask(&mut scene, home, &LaneMessage::Keepalive(a.lane, number));
        assert_eq!(LaneMessage::parse(&kept), Some(LaneMessage::Kept(a.lane, number)));
    }
    assert_eq!(judge(&scene, b.lane, roof), Verdict::Drop(DropReason::LaneUnknown));
    assert_eq!(judge(&scene, a.lane, home), Verdict::Up(a.lane));
    let refused = ask(&mut scene, roof, &LaneMessage::Keepalive(b.lane, 1));
    let not_bound = LaneMessage::Refused(b.lane, LaneRefusal::NotBound);
    assert_eq!(LaneMessage::parse(&refused), Some(not_bound));
    scene.pass(Duration::from_secs(31));
    for (client, end) in clients.into_iter().zip([a, b]) {
        assert!(scene.frames(client).contains(&RelayFrame::LaneClosed(end.lane)));
    }
    assert_eq!((scene.relay.totals().lanes, scene.switch.len()), (0, 0));
}

#[test]
fn any_way_reaches_any_way() {
    let (mut scene, clients, [a, b]) = pair();
    let home = address("192.0.2.1:1000");
    bind(&mut scene, home, &a, 1);
    // From a lane to one whose end is not bound: by its connection.
    let payload = Bytes::from_static(b"abcabcab");
    scene.run(|relay, now, out| relay.lane_data(a.lane, payload, 3, now.at, out));
    assert_eq!(scene.packets(clients[1]), [(node_key(1), b"abcabcab".to_vec(), 3)]);
    // And back: into the lane, with a header before each.
    scene.send(clients[1], 1, b"xyzxy", 3);
    assert!(scene.packets(clients[0]).is_empty());
    let [made] = &scene.datagrams[..] else { panic!() };
    assert_eq!((made.to, made.segment), (home, 11));
    let datagrams: Vec<_> = made.bytes.chunks(11).map(LaneMessage::parse).collect();
    let data = |payload| Some(LaneMessage::Data(a.lane, payload));
    assert_eq!(datagrams, [data(b"xyz"), data(b"xy")]);
    // Without connection there is nowhere to go.
    scene.run(|relay, now, out| relay.leave(clients[1], now.at, out));
    let payload = Bytes::from_static(b"abc");
    scene.run(|relay, now, out| relay.lane_data(b.lane, payload.clone(), 3, now.at, out));
    scene.run(|relay, now, out| relay.lane_data(a.lane, payload, 3, now.at, out));
    assert_eq!(scene.relay.counters().dropped(DropReason::LaneUnbound), 1);
}

#[test]
fn a_node_comes_back_to_its_lanes_or_loses_them() {
    let (mut scene, clients, [a, _]) = pair();
    let home = address("192.0.2.1:1000");
    bind(&mut scene, home, &a, 1);
    scene.run(|relay, now, out| relay.leave(clients[0], now.at, out));
    let again = scene.join(1, 1);
    scene.frame(again, &ClientFrame::OpenLane(node_key(2)));
    assert_eq!(opened(&mut scene, again), a);
    scene.run(|relay, now, out| relay.leave(again, now.at, out));
    for _ in 0..6 {
        scene.pass(Duration::from_secs(10));
        scene.frame(clients[1], &ClientFrame::Pong(0));
        ask(&mut scene, home, &LaneMessage::Keepalive(a.lane, 1));
    }
    assert_eq!(scene.relay.totals().lanes, 0, "keepalives alone do not keep a lane");
    assert!(scene.switch.is_empty());
}

#[test]
fn lanes_are_limited_and_closed_by_their_owners_only() {
    let mut scene = Scene::with_lanes();
    let one = scene.try_join(&Ticket { lanes: 1, ..ticket(1, 1) }, 1).unwrap();
    let [two, three] = [2, 3].map(|node| scene.join(1, node));
    let refused = |why| RelayFrame::LaneRefused(node_key(3), why);
    scene.frames(one);
    scene.frame(one, &ClientFrame::OpenLane(node_key(2)));
    let end = opened(&mut scene, one);
    scene.frame(one, &ClientFrame::OpenLane(node_key(3)));
    assert_eq!(scene.frames(one), [refused(LaneRefused::TooMany)]);
    // Nor from the other side.
    scene.frame(three, &ClientFrame::OpenLane(node_key(1)));
    assert!(matches!(scene.frames(three)[..], [RelayFrame::LaneRefused(_, LaneRefused::TooMany)]));
    scene.frame(three, &ClientFrame::OpenLane(node_key(3)));
    assert_eq!(scene.frames(three), [refused(LaneRefused::Oneself)]);
    for stranger in [two, three] {
        scene.frame(stranger, &ClientFrame::CloseLane(end.lane));
    }
    assert_eq!(scene.relay.totals().lanes, 1);
    scene.frame(one, &ClientFrame::CloseLane(end.lane));
    assert_eq!(scene.relay.totals().lanes, 0);
}
