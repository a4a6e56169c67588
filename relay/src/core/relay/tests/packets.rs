//! Packets to keys.

use std::num::NonZeroU64;

use dataplane_common::DropReason;
use proptest::prelude::*;

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
    // What waited too long is dropped, though there is never room again.
    let (first, full) = (scene.packets(dead).len(), dropped(&scene, DropReason::ReceiverFull));
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.relay.totals().waiting, 0);
    let lost = usize::try_from(full + dropped(&scene, DropReason::QueueAge)).unwrap();
    assert!(first > 0 && first + lost == 5000, "{first} handed over, {lost} lost");
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

fn dropped(scene: &Scene, reason: DropReason) -> u64 {
    scene.relay.counters().dropped(reason)
}

/// Says that a connection has written all that it was given.
fn write(scene: &mut Scene, client: ClientId) -> usize {
    let given: Vec<Delivery> = scene
        .delivered
        .extract_if(.., |(to, _)| *to == client)
        .map(|(_, delivery)| delivery)
        .collect();
    let cost = given.iter().map(Delivery::cost).sum();
    scene.run(|relay, now, out| relay.written(client, cost, now.at, out));
    given.iter().filter(|delivery| matches!(delivery, Delivery::Packet(_))).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Receivers of network 1 are dead, and it sends what it can; those of network 2 are slow, so that
    /// some of its packets wait at any time, and lose none.
    #[test]
    fn dead_receivers_cost_their_own_network_only(
        dead in 2..12_u8,
        steps in proptest::collection::vec((1..40_usize, 1..1400_usize, 0..3_u8), 1..150),
    ) {
        let total = 400_000;
        let client_rate = NonZeroU64::MAX;
        let settings = Settings { queue_total: total, client_rate, ..Settings::default() };
        let mut scene = Scene::new(settings);
        let flood = scene.join(1, 1);
        for node in 2..2 + dead {
            scene.join(1, node);
        }
        let alive = scene.join(1, 100);
        let (modest, slow) = (scene.join(2, 1), scene.join(2, 2));
        scene.writing = false;
        let (mut sent, mut got, mut held) = (0, 0, 0);
        for (many, len, few) in steps {
            for n in 0..many {
                let to = 2 + u8::try_from(n).unwrap() % dead;
                scene.send(flood, to, &vec![0; len], len);
            }
            for _ in 0..few {
                scene.send(modest, 2, &[0; 1000], 1000);
                sent += 1;
            }
            prop_assert!(scene.relay.totals().waiting <= total);
            // An open queue is passed to, whatever waits elsewhere.
            scene.send(flood, 100, b"alive", 5);
            prop_assert_eq!(write(&mut scene, alive), 1);
            held += 1;
            // The slow one is far behind, but its network has less than the other waiting.
            if held == 60 {
                got += write(&mut scene, slow);
                held = 0;
            }
        }
        // Each time it is given a window of what waits.
        for _ in 0..20 {
            got += write(&mut scene, slow);
        }
        prop_assert_eq!(got, sent);
        for client in [slow, modest, flood] {
            scene.run(|relay, now, out| relay.leave(client, now.at, out));
        }
        scene.pass(Duration::from_secs(1));
        prop_assert_eq!(scene.relay.totals().waiting, 0);
    }
}

#[test]
fn little_of_a_large_chunk_is_held_by_itself() {
    let mut scene = Scene::new(Settings::default());
    let (one, two) = (scene.join(1, 1), scene.join(1, 2));
    let chunk = Bytes::from(vec![7; 128 << 10]);
    let mut send = |len: usize| {
        let batch = Batch::new(&chunk[9..9 + len], len.min(1000)).unwrap();
        let frame = ClientFrame::Send(node_key(2), batch);
        scene.run(|relay, now, out| relay.frame(one, &frame, &chunk, now, out));
        let (to, delivery) = scene.delivered.pop().unwrap();
        let Delivery::Packet(packet) = delivery else { panic!("no packet") };
        assert_eq!((to, packet.payload.len()), (two, len));
        packet.payload.is_unique()
    };
    assert!(send(1) && send(1400) && send(60_000), "they hold the whole chunk");
    let whole = Bytes::from(vec![7; 1000]);
    let batch = Batch::new(&whole[35..], 965).unwrap();
    let frame = ClientFrame::Send(node_key(2), batch);
    scene.run(|relay, now, out| relay.frame(one, &frame, &whole, now, out));
    let Some((_, Delivery::Packet(packet))) = scene.delivered.pop() else { panic!("no packet") };
    assert_eq!(packet.payload.as_ptr(), whole[35..].as_ptr(), "copied for nothing");
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
