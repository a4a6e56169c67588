//! Packets to keys.

use std::num::NonZeroU64;

use dataplane_common::DropReason;

use super::*;

#[test]
fn packets_arrive_as_they_were_sent() {
    let mut scene = Scene::new(Settings::default());
    let (one, two) = (scene.join(1, 1), scene.join(1, 2));
    scene.send(one, 2, b"abcabcab", 3);
    scene.send(two, 1, b"x", 1);
    assert_eq!(scene.packets(two), [(node_key(1), b"abcabcab".to_vec(), 3)]);
    assert_eq!(scene.packets(one), [(node_key(2), b"x".to_vec(), 1)]);
    let counters = scene.relay.counters();
    assert_eq!((counters.packets_in, counters.bytes_in), (4, 9));
    assert_eq!((counters.packets_out, counters.bytes_out), (4, 9));
}

#[test]
fn networks_do_not_reach_each_other() {
    let mut scene = Scene::with_lanes();
    let (one, other) = (scene.join(1, 1), scene.join(2, 2));
    scene.send(one, 2, b"hello", 5);
    assert_eq!(scene.frames(one), [RelayFrame::PeerGone(node_key(2))]);
    scene.frame(one, &ClientFrame::OpenLane(node_key(2)));
    assert!(matches!(scene.frames(one)[..], [RelayFrame::LaneRefused(..)]));
    assert!(scene.packets(other).is_empty() && scene.frames(other).is_empty());
    // The same key in another network is another node.
    let namesake = scene.join(1, 2);
    scene.send(one, 2, b"hello", 5);
    assert_eq!(scene.packets(namesake).len(), 1);
    assert!(scene.packets(other).is_empty());
}

#[test]
fn absent_peers_are_named_but_not_for_each_packet() {
    let mut scene = Scene::new(Settings::default());
    let one = scene.join(1, 1);
    for _ in 0..10_000 {
        scene.send(one, 2, b"hello", 5);
    }
    assert_eq!(scene.relay.counters().dropped(DropReason::PeerAbsent), 10_000);
    let told = scene.frames(one).len();
    assert!((1..=501).contains(&told), "{told} answers");
}

#[test]
fn a_dead_receiver_blocks_nobody_and_holds_little() {
    let mut scene = Scene::new(Settings::default());
    let (sender, dead) = (scene.join(1, 1), scene.join(1, 2));
    scene.writing = false;
    let packet = vec![0; 1300];
    for _ in 0..5000 {
        scene.send(sender, 2, &packet, 1300);
        scene.now.at += Duration::from_micros(50);
    }
    let waiting = scene.relay.totals().waiting;
    assert!(waiting <= Settings::default().queue_bytes, "{waiting} bytes wait");
    assert!(scene.relay.counters().dropped(DropReason::ReceiverFull) > 4000);
    let alive = scene.join(1, 3);
    scene.send(sender, 3, b"hello", 5);
    assert_eq!(scene.packets(alive).len(), 1);
    // What waited too long is dropped when there is room again.
    let first = scene.packets(dead).len();
    scene.now.at += Duration::from_secs(1);
    scene.run(|relay, now, out| relay.written(dead, 1 << 20, now.at, out));
    assert!(first > 0 && scene.packets(dead).is_empty());
    assert_eq!(scene.relay.totals().waiting, 0);
    scene.run(|relay, now, out| relay.leave(dead, now.at, out));
    assert_eq!(scene.relay.totals().waiting, 0);
}

#[test]
fn all_queues_together_are_bounded() {
    let settings = Settings { queue_total: 300_000, ..Settings::default() };
    let mut scene = Scene::new(settings);
    let sender = scene.join(1, 1);
    for node in 2..20 {
        scene.join(1, node);
    }
    scene.writing = false;
    for node in 2..20 {
        for _ in 0..200 {
            scene.send(sender, node, &[0; 1000], 1000);
        }
    }
    assert!(scene.relay.totals().waiting <= 300_000);
    assert!(scene.relay.counters().dropped(DropReason::QueueTotal) > 0);
}

#[test]
fn a_client_has_its_tickets_rate() {
    let mut scene = Scene::new(Settings::default());
    let slow = scene.try_join(&Ticket { node_rate: 1_000_000, ..ticket(1, 1) }, 1).unwrap();
    let two = scene.join(1, 2);
    for _ in 0..2000 {
        scene.send(slow, 2, &[0; 10_000], 1000);
        scene.now.at += Duration::from_millis(1);
    }
    let bytes: usize = scene.packets(two).iter().map(|(_, bytes, _)| bytes.len()).sum();
    assert!((2_000_000..=2_150_000).contains(&bytes), "{bytes} bytes in two seconds");
}

#[test]
fn ten_to_one_senders_have_equal_parts_of_their_network() {
    let settings = Settings { network_rate: NonZeroU64::new(2_000_000), ..Settings::default() };
    let mut scene = Scene::new(settings);
    let [greedy, modest, sink] = [1, 2, 3].map(|node| scene.join(1, node));
    for _ in 0..5000 {
        for _ in 0..20 {
            scene.send(greedy, 3, &[0; 1000], 1000);
        }
        for _ in 0..2 {
            scene.send(modest, 3, &[0; 1000], 1000);
        }
        scene.now.at += Duration::from_millis(1);
    }
    let packets = scene.packets(sink);
    for node in [1, 2] {
        let got = packets.iter().filter(|(from, ..)| *from == node_key(node)).count();
        assert!(got.abs_diff(5000) <= 250, "node {node}: {got} of 5000");
    }
}
