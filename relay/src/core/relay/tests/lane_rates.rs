//! Rates of clients and networks hold for what goes by lanes, however many they have.

use std::net::SocketAddr;
use std::num::NonZeroU64;

use dataplane_common::DropReason;
use proto::lane::{LaneId, data_header};

use super::lanes::{bind, opened};
use super::*;
use crate::core::Verdict;

/// What is sent at one time.
const RUN: usize = 10_000;

fn place(node: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, node], 1000))
}

/// Opens a lane from a client to another, both bound; gives its id.
fn lane(scene: &mut Scene, [from, to]: [(ClientId, u8); 2]) -> LaneId {
    scene.frame(from.0, &ClientFrame::OpenLane(node_key(to.1)));
    let ends = [from, to].map(|(client, _)| opened(scene, client));
    bind(scene, place(from.1), &ends[0], 1);
    bind(scene, place(to.1), &ends[1], 1);
    ends[0].lane
}

/// Bytes that go on in so many milliseconds by these lanes, which all send ten times as many.
fn sent(scene: &mut Scene, lanes: &[(u8, LaneId)], millis: u32) -> Vec<usize> {
    let mut sent = vec![0; lanes.len()];
    for _ in 0..millis {
        for (bytes, (node, lane)) in sent.iter_mut().zip(lanes) {
            let run = [&data_header(*lane)[..], &[7; RUN - 8]].concat();
            match scene.switch.judge(&run, 1_000, place(*node), None, scene.now.at) {
                Verdict::Forward(_) => *bytes += RUN,
                Verdict::Drop(DropReason::LaneRate | DropReason::NetworkRate) => {}
                other => panic!("{other:?}"),
            }
        }
        scene.now.at += Duration::from_millis(1);
    }
    sent
}

fn scene(network_rate: Option<u64>) -> Scene {
    let lane_addresses = vec!["198.51.100.1:3478".parse().unwrap()];
    let network_rate = network_rate.and_then(NonZeroU64::new);
    Scene::new(Settings { lane_addresses, network_rate, ..Settings::default() })
}

fn joined(scene: &mut Scene, node: u8, node_rate: u64) -> (ClientId, u8) {
    let client = scene.try_join(&Ticket { node_rate, ..ticket(1, node) }, node).unwrap();
    scene.frames(client);
    (client, node)
}

#[test]
fn all_lanes_of_a_client_are_sent_at_its_rate() {
    let mut scene = scene(None);
    let one = joined(&mut scene, 1, 1_000_000);
    let others = [2, 3, 4].map(|node| joined(&mut scene, node, 0));
    let lanes = others.map(|other| (1, lane(&mut scene, [one, other])));
    let all: usize = sent(&mut scene, &lanes, 2_000).iter().sum();
    assert!((1_900_000..=2_150_000).contains(&all), "{all} bytes in two seconds");
    // So they are by a table that takes over.
    scene.switch = Switch::new(scene.now.at);
    scene.relay.switched().for_each(|change| scene.switch.change(change));
    let all: usize = sent(&mut scene, &lanes, 2_000).iter().sum();
    assert!((1_900_000..=2_150_000).contains(&all), "{all} bytes in two seconds");
}

#[test]
fn another_tickets_rate_holds_for_lanes_that_are_open() {
    let mut scene = scene(None);
    let [one, two] = [1, 2].map(|node| joined(&mut scene, node, 1_000_000));
    let lane = lane(&mut scene, [one, two]);
    sent(&mut scene, &[(1, lane)], 1_000);
    let ticket = Ticket { node_rate: 3_000_000, ..ticket(1, 1) };
    let admitted = admitted(&ticket, 1, scene.now.wall).unwrap();
    scene.run(|relay, now, out| relay.renew(one.0, &admitted, now, out));
    let bytes = sent(&mut scene, &[(1, lane)], 1_000)[0];
    assert!((2_900_000..=3_200_000).contains(&bytes), "{bytes} bytes in a second");
}

#[test]
fn a_network_divides_its_rate_among_those_who_send_by_lanes() {
    let mut scene = scene(Some(2_000_000));
    let [one, two, three, four] = [1, 2, 3, 4].map(|node| joined(&mut scene, node, 0));
    let greedy = [two, three, four].map(|other| (1, lane(&mut scene, [one, other])));
    let modest = (2, lane(&mut scene, [two, three]));
    let bytes = sent(&mut scene, &[&greedy[..], &[modest]].concat(), 5_000);
    let parts = [bytes[..3].iter().sum::<usize>(), bytes[3]];
    for part in parts {
        assert!(part.abs_diff(5_000_000) <= 350_000, "{parts:?} of 5,000,000 each");
    }
}

#[test]
fn a_rate_that_a_network_gets_later_holds_for_all_its_lanes() {
    let mut scene = scene(None);
    let [one, two] = [1, 2].map(|node| joined(&mut scene, node, 0));
    let lane = lane(&mut scene, [one, two]);
    let free = sent(&mut scene, &[(1, lane)], 100)[0];
    assert_eq!(free, 100 * RUN);
    // Another node's ticket says it.
    let ticket = Ticket { network_rate: 100_000, ..ticket(1, 3) };
    scene.try_join(&ticket, 3).unwrap();
    let bytes = sent(&mut scene, &[(1, lane)], 5_000)[0];
    assert!((400_000..=900_000).contains(&bytes), "{bytes} bytes in five seconds");
    // Nor need it have lanes to say another.
    let ticket = Ticket { network_rate: 1_000_000, ..ticket };
    scene.try_join(&ticket, 3).unwrap();
    let bytes = sent(&mut scene, &[(1, lane)], 5_000)[0];
    assert!((4_500_000..=5_500_000).contains(&bytes), "{bytes} bytes in five seconds");
    let ticket = Ticket { network_rate: 0, ..ticket };
    scene.try_join(&ticket, 3).unwrap();
    assert_eq!(sent(&mut scene, &[(1, lane)], 100)[0], free);
}
