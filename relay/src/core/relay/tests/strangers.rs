//! What anybody may try: nothing grows by it.

use std::net::SocketAddr;

use dataplane_common::DropReason;
use proptest::prelude::*;
use proto::lane::{LaneMessage, LaneRefusal};
use proto::relay::LaneRefused;

use super::*;

#[test]
fn questions_of_strangers_are_limited_and_leave_nothing_behind() {
    let mut scene = Scene::with_lanes();
    let from: SocketAddr = "203.0.113.9:9".parse().unwrap();
    for id in 1..100_000 {
        let bind = LaneMessage::Bind(proto::lane::LaneId::from_number(id).unwrap());
        scene.run(|relay, now, out| relay.lane_message(&bind, from, None, now.at, out));
    }
    let answers = scene.datagrams.len();
    assert!((1..=25_001).contains(&answers), "{answers} answers at once");
    let refused = LaneMessage::parse(&scene.datagrams[0].bytes);
    assert!(matches!(refused, Some(LaneMessage::Refused(_, LaneRefusal::Unknown))));
    assert_eq!(scene.relay.counters().dropped(DropReason::LaneBusy), 99_999 - answers as u64);
    assert_eq!(scene.relay.poll_timeout(), None);
}

#[test]
fn a_client_that_opens_and_closes_does_not_drown_its_peer() {
    let mut scene = Scene::with_lanes();
    let (restless, peer) = (scene.join(1, 1), scene.join(1, 2));
    let mut refusals = 0;
    for _ in 0..5000 {
        scene.frame(restless, &ClientFrame::OpenLane(node_key(2)));
        for frame in scene.frames(restless) {
            match frame {
                RelayFrame::LaneOpened(opened) => {
                    scene.frame(restless, &ClientFrame::CloseLane(opened.lane));
                }
                RelayFrame::LaneRefused(_, why) => {
                    assert_eq!(why, LaneRefused::TooMany);
                    refusals += 1;
                }
                _ => {}
            }
        }
    }
    assert!(refusals > 4000);
    assert!(scene.frames(peer).len() <= 1002);
    assert!(scene.closed.is_empty());
}

#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let mut scene = Scene::new(Settings::default());
    let mute = scene.join(1, 1);
    scene.writing = false;
    for number in 0..5000 {
        scene.frame(mute, &ClientFrame::Ping(number));
    }
    assert_eq!(scene.closed, [mute]);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.relay.totals(), crate::core::Totals::default());
}

#[test]
fn a_hundred_thousand_lanes_open_and_close() {
    let lane_addresses = vec!["198.51.100.1:3478".parse().unwrap()];
    let mut scene = Scene::new(Settings { lane_addresses, ..Settings::default() });
    // 448 nodes, each with one to every other: 100,128 pairs.
    let clients: Vec<_> = (0..448_u16)
        .map(|n| {
            let [a, b] = n.to_be_bytes();
            let mut key = [7; 32];
            key[..2].copy_from_slice(&[a, b]);
            let ticket = Ticket { node: PublicKey::from(key), ..ticket(1, 1) };
            (scene.try_join(&ticket, 1).unwrap(), PublicKey::from(key))
        })
        .collect();
    for (n, (client, _)) in clients.iter().enumerate() {
        for (_, peer) in &clients[n + 1..] {
            scene.frame(*client, &ClientFrame::OpenLane(*peer));
        }
        // So that the limit on openings does not end it.
        scene.now.at += Duration::from_secs(5);
        scene.delivered.clear();
        for (client, _) in &clients {
            scene.frame(*client, &ClientFrame::Pong(0));
        }
    }
    assert_eq!(scene.relay.totals().lanes, 100_000);
    // Nobody binds: all are closed after their time, and nobody is told more than that.
    for _ in 0..4 {
        scene.pass(Duration::from_secs(10));
        for (client, _) in &clients {
            scene.frame(*client, &ClientFrame::Pong(0));
        }
    }
    assert_eq!(scene.relay.totals().lanes, 0);
}

/// What a client or its connection may do, in any order.
#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Send(u8, u8, usize),
    Open(u8, u8),
    Bind(u8, u8),
    Pass(u64),
    Pong(u8),
    Write(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..5_u8;
    prop_oneof![
        node.clone().prop_map(Step::Join),
        node.clone().prop_map(Step::Leave),
        (node.clone(), node.clone(), 1..3000_usize).prop_map(|(a, b, len)| Step::Send(a, b, len)),
        (node.clone(), node.clone()).prop_map(|(a, b)| Step::Open(a, b)),
        (node.clone(), 1..9_u8).prop_map(|(a, port)| Step::Bind(a, port)),
        (1..20_000_u64).prop_map(Step::Pass),
        node.prop_map(Step::Pong),
        any::<bool>().prop_map(Step::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, in the end nothing is left of it.
    #[test]
    fn nothing_outlives_its_owner(steps in proptest::collection::vec(step(), 0..120)) {
        let mut scene = Scene::with_lanes();
        let mut clients = [None; 5];
        for step in steps {
            match step {
                Step::Join(node) => {
                    // Two networks, so that some do not reach each other.
                    let ticket = ticket(node / 4, node);
                    clients[node as usize] = scene.try_join(&ticket, node).ok();
                }
                Step::Leave(node) => {
                    if let Some(client) = clients[node as usize] {
                        scene.run(|relay, now, out| relay.leave(client, now.at, out));
                    }
                }
                Step::Send(from, to, len) => {
                    if let Some(client) = clients[from as usize] {
                        scene.send(client, to, &vec![0; len], len.min(1000));
                    }
                }
                Step::Open(from, to) => {
                    if let Some(client) = clients[from as usize] {
                        scene.frame(client, &ClientFrame::OpenLane(node_key(to)));
                    }
                }
                Step::Bind(node, port) => bind_all(&mut scene, clients[node as usize], port),
                Step::Pass(milliseconds) => scene.pass(Duration::from_millis(milliseconds)),
                Step::Pong(node) => {
                    if let Some(client) = clients[node as usize] {
                        scene.frame(client, &ClientFrame::Pong(0));
                    }
                }
                Step::Write(writing) => scene.writing = writing,
            }
            prop_assert!(scene.switch.len() <= 2 * scene.relay.totals().lanes);
        }
        for client in clients.into_iter().flatten() {
            scene.run(|relay, now, out| relay.leave(client, now.at, out));
        }
        scene.pass(Duration::from_secs(200));
        prop_assert_eq!(scene.relay.totals(), crate::core::Totals::default());
        prop_assert!(scene.switch.is_empty());
        prop_assert_eq!(scene.relay.poll_timeout(), None);
    }
}

/// Binds whatever lanes the client was told of.
fn bind_all(scene: &mut Scene, client: Option<ClientId>, port: u8) {
    let Some(client) = client else { return };
    let from: SocketAddr = ([192, 0, 2, port], 1000 + u16::from(port)).into();
    for frame in scene.frames(client) {
        let RelayFrame::LaneOpened(opened) = frame else { continue };
        let bind = LaneMessage::Bind(opened.lane);
        scene.run(|relay, now, out| relay.lane_message(&bind, from, None, now.at, out));
        let Some(answer) = scene.datagrams.pop() else { continue };
        if let Some(LaneMessage::Challenge(lane, cookie)) = LaneMessage::parse(&answer.bytes) {
            let proof = proto::lane::Proof::new(&opened.secret, lane, cookie, u64::from(port));
            let prove = LaneMessage::Prove(proof);
            scene.run(|relay, now, out| relay.lane_message(&prove, from, None, now.at, out));
        }
    }
}
