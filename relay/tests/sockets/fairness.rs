//! Nobody takes what is another's, and nobody waits for one who does not read.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use relay::server::Options;
use relay_client::Event;

use super::bottleneck::Bottleneck;
use super::client::{Client, Got, Way};
use super::scene::{Scene, holder, options};

const PACKET: usize = 1000;
/// A greedy client sends as much more than a modest one.
const TEN: usize = 10;

/// Two clients that send to `to` at 10:1 while the receiver counts, after a time to settle: bytes of
/// the greedy and of the modest one, and how long it took.
async fn ten_to_one(
    scene: &Scene,
    ways: [Way; 2],
    receiver: &mut Client,
    modest_rate: usize,
) -> ([usize; 2], Duration) {
    let mut senders = Vec::new();
    let mut keys = Vec::new();
    for (way, (node, times)) in ways.into_iter().zip([(11, TEN), (12, 1)]) {
        let mut client = Client::new(scene, way, holder(1, node)).await;
        let to = receiver.key;
        keys.push(client.key);
        senders.push(tokio::spawn(async move {
            let start = Instant::now();
            let mut sent = 0;
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            loop {
                tick.tick().await;
                // As much as the time since the start asks for, however late the tick is; after a
                // long pause of the machine the lost time stays lost.
                let asked = usize::try_from(start.elapsed().as_millis()).expect("short")
                    * modest_rate
                    * times
                    / 1000;
                let due = (asked / PACKET).saturating_sub(sent).min(200 * times);
                for _ in 0..due {
                    client.send(to, &[1; PACKET], PACKET).await;
                }
                sent = asked / PACKET;
            }
        }));
    }
    let settled = Instant::now() + Duration::from_millis(1500);
    let mut start = None;
    let mut got: HashMap<PublicKey, usize> = HashMap::new();
    let took = loop {
        let (from, bytes, _) = receiver.packets().await;
        let now = Instant::now();
        if now < settled {
            continue;
        }
        let took = now - *start.get_or_insert(now);
        *got.entry(from).or_default() += bytes.len();
        if took >= Duration::from_secs(4) {
            break took;
        }
    };
    for sender in senders {
        sender.abort();
    }
    let of = |at: usize| got.get(&keys[at]).copied().unwrap_or(0);
    ([of(0), of(1)], took)
}

fn each_has_half(what: &str, got: [usize; 2]) {
    let half = (got[0] + got[1]) / 2;
    println!("{what}: the greedy one had {}, the modest one {} bytes", got[0], got[1]);
    for had in got {
        assert!(had.abs_diff(half) * 20 <= half, "{what}: {had} of {half}, not within 5 %");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_to_one_share_their_networks_rate_alike() {
    for ways in [[Way::Tls, Way::Quic], [Way::Quic, Way::Tls]] {
        let rate = 500_000;
        let scene = Scene::with(Options { network_rate: NonZeroU64::new(rate), ..options() }).await;
        let mut receiver = Client::new(&scene, Way::Tls, holder(1, 1)).await;
        let (got, took) = ten_to_one(&scene, ways, &mut receiver, 500_000).await;
        each_has_half(&format!("a network's rate, {ways:?}"), got);
        let all = (got[0] + got[1]) as f64 / took.as_secs_f64() / rate as f64;
        assert!((0.8..1.05).contains(&all), "{all} of the rate");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_to_one_share_a_slow_receiver_alike() {
    for way in [Way::Tls, Way::Quic] {
        let scene = Scene::new().await;
        let link = Bottleneck::new(&scene, way).await;
        let mut receiver = Client::new(&link.relay, way, holder(1, 1)).await;
        // 1.5 MB a second.
        link.rate.store(15_000, Ordering::Relaxed);
        let (got, _) = ten_to_one(&scene, [Way::Tls, Way::Quic], &mut receiver, 1_500_000).await;
        each_has_half(&format!("a slow receiver on {way:?}"), got);
        assert!(late(&scene).await > 0, "{way:?}");
    }
}

/// Packets that were dropped because their receiver was too slow.
async fn late(scene: &Scene) -> u64 {
    scene.status("/drops/queue_age").await + scene.status("/drops/receiver_full").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_blocks_nobody() {
    for way in [Way::Tls, Way::Quic] {
        let scene = Scene::new().await;
        let link = Bottleneck::new(&scene, way).await;
        let dead = Client::new(&link.relay, way, holder(1, 1)).await;
        let mut alive = Client::new(&scene, Way::Quic, holder(1, 2)).await;
        let mut sender = Client::new(&scene, Way::Tls, holder(1, 3)).await;
        link.rate.store(0, Ordering::Relaxed);
        // More than all buffers on the way to the dead one hold.
        let large = vec![7; 50 * 1200];
        for round in 0..200_u64 {
            sender.send(dead.key, &large, 1200).await;
            sender.send(alive.key, &round.to_be_bytes(), 8).await;
            let sent = Instant::now();
            let (_, bytes, _) = alive.packets().await;
            assert_eq!(bytes, round.to_be_bytes());
            assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
        }
        assert!(late(&scene).await > 0, "{way:?}: nothing was dropped of what nobody reads");
        // What is too old leaves, though nobody asks for it.
        scene.until("/totals/waiting", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_overtakes_packets_that_wait_for_a_slow_receiver() {
    let scene = Scene::new().await;
    let link = Bottleneck::new(&scene, Way::Quic).await;
    let mut slow = Client::new(&link.relay, Way::Quic, holder(1, 1)).await;
    let mut sender = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    // 200 KB a second.
    link.rate.store(2_000, Ordering::Relaxed);
    let to = slow.key;
    let sending = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            sender.send(to, &[7; 20 * 1000], 1000).await;
        }
    });
    // Until all that is between has filled.
    let deadline = Instant::now() + Duration::from_secs(20);
    while late(&scene).await == 0 {
        assert!(Instant::now() < deadline, "nothing waits");
        slow.packets().await;
    }
    for round in 0..3 {
        slow.session.ping(round);
        slow.flush().await;
        let mut before = 0;
        loop {
            match slow.next().await.expect("it is served") {
                Got::Packets { bytes, .. } => before += bytes.len(),
                Got::Other(event) => break assert_eq!(event, Event::Pong(round)),
            }
        }
        // The link's own queue, what quinn has, and as much again for what must be sent twice.
        assert!(before <= 200 << 10, "{before} bytes came before a frame");
    }
    sending.abort();
}
