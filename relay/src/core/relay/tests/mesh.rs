//! A region: who reaches whom, and what is believed of whom.

use std::time::Duration;

use dataplane_common::DropReason;
use proto::mesh::{MeshFrame, Notice, Presence};
use proto::relay::{ClientFrame, LaneRefused, RelayFrame};
use proto::ticket::NetworkId;

use super::node_key;
use super::region::{Fleet, id, packets};
use crate::core::Settings;

fn nodes(notices: Vec<Notice>) -> Vec<u8> {
    let mut bytes = Vec::new();
    MeshFrame::Nodes(notices).write(&mut bytes);
    bytes
}

fn notice(network: u8, node: u8, presence: Presence) -> Notice {
    Notice { network: NetworkId([network; 16]), node: node_key(node), presence }
}

#[test]
fn any_pair_reaches_any() {
    let mut fleet = Fleet::new(3);
    let clients: Vec<_> =
        (0..3).map(|at| fleet.home(at, 1, u8::try_from(at).unwrap() + 1)).collect();
    for from in 0..3 {
        for to in 0..3 {
            let bytes = [u8::try_from(from * 3 + to).unwrap() + 1];
            fleet.send(from, clients[from], u8::try_from(to).unwrap() + 1, &bytes);
            let sender = u8::try_from(from).unwrap() + 1;
            assert_eq!(fleet.got(to, clients[to]), [(sender, bytes.to_vec())], "{from} to {to}");
        }
    }
    // One hop: what passed the wires is what six pairs sent.
    let out: u64 = fleet.relays.iter().map(|r| r.relay.counters().link_packets_out).sum();
    assert_eq!(out, 6);
}

#[test]
fn networks_stay_apart() {
    let mut fleet = Fleet::new(2);
    let (one, two) = (fleet.home(0, 1, 1), fleet.home(1, 2, 2));
    fleet.send(0, one, 2, b"x");
    assert_eq!((fleet.got(1, two), fleet.gone(0, one)), (vec![], vec![2]));
}

#[test]
fn who_was_there_before_the_link_is_known_and_who_leaves_is_not() {
    let mut fleet = Fleet::new(3);
    let first = fleet.home(0, 1, 1);
    let others: Vec<_> = (10..20).map(|node| fleet.home(1, 1, node)).collect();
    fleet.cut(0, 1);
    fleet.pass(Duration::from_millis(400));
    assert_eq!(fleet.known(0, 1), 0);
    fleet.mend(0, 1);
    fleet.settle();
    assert_eq!((fleet.known(0, 1), fleet.known(1, 0), fleet.known(2, 1)), (10, 1, 10));
    fleet.relays[1].run(|relay, now, out| relay.leave(others[0], now.at, out));
    fleet.settle();
    assert_eq!((fleet.known(0, 1), fleet.known(2, 1)), (9, 9));
    fleet.send(0, first, 10, b"x");
    assert_eq!(fleet.gone(0, first), [10]);
}

#[test]
fn a_silent_link_is_dead_within_300_ms_and_not_before_200() {
    let mut fleet = Fleet::new(2);
    let (one, two) = (fleet.home(0, 1, 1), fleet.home(1, 1, 2));
    fleet.pass(Duration::from_secs(5));
    assert!(fleet.is_up(0, 1) && fleet.is_up(1, 0));
    fleet.cut(0, 1);
    fleet.pass(Duration::from_millis(200));
    assert!(fleet.is_up(0, 1));
    fleet.pass(Duration::from_millis(100));
    assert!(!fleet.is_up(0, 1) && !fleet.is_up(1, 0));
    fleet.send(0, one, 2, b"x");
    assert_eq!(fleet.gone(0, one), [2]);
    fleet.mend(0, 1);
    fleet.send(0, one, 2, b"y");
    assert_eq!(fleet.got(1, two), [(1, b"y".to_vec())]);
}

#[test]
fn a_relay_that_was_stopped_does_not_take_the_others_for_dead() {
    let mut fleet = Fleet::new(2);
    fleet.pass(Duration::from_millis(100));
    // Its clock jumps: what came meanwhile is heard after its own beat.
    let later = fleet.relays[0].now.at + Duration::from_secs(2);
    fleet.relays[0].set_clock(later);
    fleet.relays[0].run(|relay, now, out| relay.handle_timeout(now, out));
    assert!(fleet.is_up(0, 1));
}

#[test]
fn what_came_by_a_link_is_never_passed_on() {
    let mut fleet = Fleet::new(3);
    fleet.home(1, 1, 2);
    let moved = fleet.home(1, 1, 3);
    // Relay 0 believes that node 3 is at relay 1, relay 1 knows that it is at relay 2.
    fleet.cut(0, 1);
    fleet.relays[1].run(|relay, now, out| relay.leave(moved, now.at, out));
    fleet.cut(0, 2);
    let there = fleet.home(2, 1, 3);
    fleet.mend(0, 1);
    let before = fleet.relays[1].relay.counters().link_packets_out;
    fleet.frame(0, 1, &nodes(vec![notice(1, 3, Presence::Home(0))]));
    let one = fleet.home(0, 1, 1);
    fleet.send(0, one, 3, b"x");
    assert_eq!(fleet.relays[1].relay.counters().link_packets_out, before);
    assert_eq!(fleet.relays[1].relay.counters().dropped(DropReason::LinkAbsent), 1);
    assert_eq!(fleet.got(2, there), []);
    assert_eq!(fleet.gone(0, one), [3], "the sender is told, and the wrong belief is gone");
    assert_eq!(fleet.known(0, 1), 1);
}

#[test]
fn a_node_that_moves_is_reached_at_its_new_home_at_once_and_everywhere() {
    let mut fleet = Fleet::new(3);
    let peers: Vec<_> = (0..3).map(|at| fleet.home(at, 1, u8::try_from(at).unwrap() + 1)).collect();
    let old = fleet.home(0, 1, 9);
    fleet.pass(Duration::from_secs(1));
    let new = fleet.home(1, 1, 9);
    for (at, peer) in peers.iter().enumerate() {
        fleet.send(at, *peer, 9, b"x");
        assert_eq!((fleet.got(0, old).len(), fleet.got(1, new).len()), (0, 1), "from {at}");
    }
    fleet.relays[0].run(|relay, now, out| relay.leave(old, now.at, out));
    fleet.settle();
    // And if it goes back, there.
    fleet.pass(Duration::from_millis(50));
    let back = fleet.home(0, 1, 9);
    fleet.send(2, peers[2], 9, b"y");
    assert_eq!((fleet.got(0, back).len(), fleet.got(1, new).len()), (1, 0));
}

#[test]
fn old_news_do_not_move_a_node_back() {
    let mut fleet = Fleet::new(3);
    let peer = fleet.home(2, 1, 1);
    fleet.home(0, 1, 9);
    fleet.pass(Duration::from_secs(1));
    let new = fleet.home(1, 1, 9);
    fleet.pass(Duration::from_millis(100));
    // Relay 0, which still has the old connection, comes back and says so.
    fleet.cut(0, 2);
    fleet.pass(Duration::from_millis(400));
    fleet.mend(0, 2);
    fleet.send(2, peer, 9, b"x");
    assert_eq!(fleet.got(1, new).len(), 1);
}

#[test]
fn a_visitor_is_reached_at_its_home_and_where_it_visits() {
    let mut fleet = Fleet::new(3);
    let (here, there) = (fleet.home(0, 1, 1), fleet.home(2, 1, 2));
    let home = fleet.home(1, 1, 9);
    fleet.pass(Duration::from_millis(100));
    let visit = fleet.relays[0].join(1, 9);
    fleet.settle();
    fleet.send(0, here, 9, b"x");
    assert_eq!((fleet.got(0, visit).len(), fleet.got(1, home).len()), (1, 0));
    fleet.send(2, there, 9, b"x");
    assert_eq!((fleet.got(0, visit).len(), fleet.got(1, home).len()), (0, 1));
    // It may speak from where it visits.
    fleet.send(0, visit, 2, b"z");
    assert_eq!(fleet.got(2, there), [(9, b"z".to_vec())]);
}

#[test]
fn relays_join_and_leave_the_region() {
    let mut fleet = Fleet::new(3);
    let (one, three) = (fleet.home(0, 1, 1), fleet.home(2, 1, 3));
    fleet.region(&[0, 1]);
    fleet.settle();
    assert!(fleet.is_up(0, 1) && fleet.relays[2].relay.mesh_status().is_none());
    assert!(!fleet.link(0, 2), "who is not of the region has no link");
    fleet.send(0, one, 3, b"x");
    assert_eq!((fleet.got(2, three).len(), fleet.gone(0, one)), (0, vec![3]));
    fleet.region(&[0, 1, 2]);
    assert!(fleet.link(0, 2) && fleet.link(1, 2));
    fleet.settle();
    fleet.send(0, one, 3, b"x");
    assert_eq!(fleet.got(2, three).len(), 1);
}

#[test]
fn a_relay_speaks_only_for_whom_it_has_announced() {
    let mut fleet = Fleet::new(3);
    let victim = fleet.home(0, 1, 1);
    fleet.home(2, 1, 2);
    fleet.frame(0, 1, &packets(1, 2, 1));
    fleet.frame(0, 1, &packets(2, 2, 1));
    fleet.pass(Duration::from_secs(1));
    assert_eq!(fleet.relays[0].relay.counters().dropped(DropReason::LinkStranger), 2);
    fleet.frame(0, 2, &packets(1, 2, 1));
    assert_eq!(fleet.got(0, victim).len(), 1);
    // What one relay says of a node is no word against what another says.
    fleet.frame(0, 1, &nodes(vec![notice(1, 2, Presence::Gone)]));
    assert_eq!(fleet.known(0, 2), 1);
    // After its hello, another has no place.
    let mut hello = Vec::new();
    let key = super::signing_key(1);
    let greeting = proto::mesh::Hello::new("here", id(1), id(0), &[0; 32], &key);
    MeshFrame::Hello(Box::new(greeting)).write(&mut hello);
    fleet.frame(0, 1, &hello);
    assert!(!fleet.is_up(0, 1) && fleet.is_up(0, 2));
}

#[test]
fn packets_that_overtook_the_news_of_their_sender_wait_for_it() {
    let mut fleet = Fleet::new(2);
    let receiver = fleet.home(0, 1, 1);
    let strangers =
        |fleet: &Fleet| fleet.relays[0].relay.counters().dropped(DropReason::LinkStranger);
    for _ in 0..3 {
        fleet.frame(0, 1, &packets(1, 2, 1));
        fleet.frame(0, 1, &packets(1, 3, 1));
    }
    fleet.pass(Duration::from_millis(300));
    assert_eq!(fleet.got(0, receiver), []);
    fleet.frame(0, 1, &nodes(vec![notice(1, 2, Presence::Home(0))]));
    assert_eq!(fleet.got(0, receiver).len(), 3, "and the other's wait on");
    fleet.pass(Duration::from_millis(300));
    assert_eq!(strangers(&fleet), 3);
    // What waits when the link ends is lost.
    fleet.frame(0, 1, &packets(1, 4, 1));
    fleet.cut(0, 1);
    fleet.pass(Duration::from_millis(400));
    assert_eq!((strangers(&fleet), fleet.got(0, receiver).len()), (4, 0));
}

#[test]
fn a_link_that_is_replaced_says_nothing_any_more() {
    let mut fleet = Fleet::new(2);
    fleet.home(1, 1, 2);
    let old = fleet.end(0, 1);
    fleet.link(0, 1);
    fleet.settle();
    assert_eq!(fleet.known(0, 1), 1);
    fleet.relays[0].run(|relay, _, out| relay.link_down(old, out));
    assert!(fleet.is_up(0, 1), "the end of the old is no end of the new");
}

#[test]
fn a_slow_link_holds_up_nobody_and_drops_the_old() {
    let mut fleet = Fleet::new(2);
    let (one, two) = (fleet.home(0, 1, 1), fleet.home(1, 1, 2));
    let near = fleet.home(0, 1, 3);
    fleet.relays[0].writing = false;
    for _ in 0..1000 {
        fleet.relays[0].send(one, 2, &[7; 1000], 1000);
        fleet.relays[0].send(one, 3, &[7; 10], 10);
        // Its connection writes; the link does not.
        fleet.relays[0].run(|relay, now, out| relay.written(near, 1 << 16, now.at, out));
        fleet.relays[0].pass(Duration::from_micros(100));
    }
    let waiting = fleet.relays[0].relay.mesh_status().unwrap().links[0].waiting;
    assert!(waiting > 900_000, "{waiting}");
    assert_eq!(fleet.got(0, near).len(), 1000);
    let late = fleet.relays[0].now.at + Settings::default().queue_age * 2;
    fleet.relays[0].set_clock(late);
    let link = fleet.end(0, 1);
    fleet.relays[0].writing = true;
    fleet.relays[0].run(|relay, now, out| relay.link_written(link, 1 << 20, now.at, out));
    fleet.settle();
    let got = fleet.got(1, two).len();
    assert!((45..=50).contains(&got), "{got}: what was handed over before");
    assert!(fleet.relays[0].relay.counters().dropped(DropReason::QueueAge) > 900);
    assert_eq!(fleet.relays[0].relay.totals().waiting, 0);
}

#[test]
fn many_nodes_are_told_of_in_bounded_frames() {
    let mut fleet = Fleet::new(2);
    fleet.cut(0, 1);
    fleet.pass(Duration::from_millis(400));
    for node in 0..=255 {
        for network in 1..6 {
            fleet.relays[0].join(network, node);
        }
    }
    fleet.mend(0, 1);
    fleet.settle();
    assert_eq!(fleet.known(1, 0), 5 * 256);
}

#[test]
fn a_lane_is_one_relays() {
    let mut fleet = Fleet::new(2);
    for relay in &mut fleet.relays {
        *relay = super::Scene::with_lanes();
    }
    let start = fleet.relays[0].start;
    fleet.relays[1].start = start;
    fleet.relays[1].set_clock(start);
    fleet.region(&[0, 1]);
    fleet.link(0, 1);
    let one = fleet.home(0, 1, 1);
    fleet.home(1, 1, 2);
    for (peer, why) in [(2, LaneRefused::PeerElsewhere), (3, LaneRefused::PeerAbsent)] {
        fleet.relays[0].frame(one, &ClientFrame::OpenLane(node_key(peer)));
        let frames = fleet.relays[0].frames(one);
        assert_eq!(frames, [RelayFrame::LaneRefused(node_key(peer), why)]);
    }
}
