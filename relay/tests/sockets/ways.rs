//! Packets by every way to every way.

use std::net::IpAddr;

use proto::relay::{Batch, Refusal};
use relay::server::{Addresses, Options};
use relay_client::{Session, SessionError};

use super::bottleneck::Bottleneck;
use super::client::{Client, Way};
use super::lane::{Lane, open};
use super::scene::{Relay, Scene, holder, options};

/// How one of the two sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Connection(Way),
    /// A lane, over IPv6 or not; the connection is for control.
    Lane(bool),
}

const ALL: [By; 4] =
    [By::Connection(Way::Quic), By::Connection(Way::Tls), By::Lane(false), By::Lane(true)];

struct Peer {
    client: Client,
    lane: Option<Lane>,
}

impl Peer {
    async fn new(scene: &Scene, by: By, node: u8) -> Self {
        let way = match by {
            By::Connection(way) => way,
            By::Lane(v6) => {
                if v6 {
                    Way::Tls
                } else {
                    Way::Quic
                }
            }
        };
        Self { client: Client::new(scene, way, holder(1, node)).await, lane: None }
    }

    async fn send(&mut self, to: &Self, bytes: &[u8], segment: usize) {
        match &self.lane {
            Some(lane) => {
                for packet in bytes.chunks(segment) {
                    lane.send(packet).await;
                }
            }
            None => self.client.send(to.client.key, bytes, segment).await,
        }
    }

    /// The next so many packets, one by one.
    async fn receive(&mut self, count: usize, from: &Self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while packets.len() < count {
            match &mut self.lane {
                Some(lane) => packets.push(lane.receive().await),
                None => {
                    let (key, bytes, segment) = self.client.packets().await;
                    assert_eq!(key, from.client.key);
                    packets.extend(bytes.chunks(segment).map(<[u8]>::to_vec));
                }
            }
        }
        packets
    }
}

async fn pair(scene: &Scene, by: [By; 2], nodes: [u8; 2]) -> [Peer; 2] {
    let mut a = Peer::new(scene, by[0], nodes[0]).await;
    let mut b = Peer::new(scene, by[1], nodes[1]).await;
    if by.iter().any(|by| matches!(by, By::Lane(_))) {
        let ends = open(&mut a.client, &mut b.client).await;
        for ((peer, by), end) in [&mut a, &mut b].into_iter().zip(by).zip(ends) {
            if let By::Lane(v6) = by {
                peer.lane = Some(Lane::bind(&end, v6).await);
            }
        }
    }
    [a, b]
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from((n * 7 + n / 251 + seed) % 256).expect("a byte")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_reaches_every_way() {
    let scene = Scene::new().await;
    let mut node = 1;
    for from in ALL {
        for to in ALL {
            let [mut a, mut b] = pair(&scene, [from, to], [node, node + 1]).await;
            node += 2;
            // One packet, a batch whose last is shorter, and large ones.
            for (len, segment) in [(1, 1), (5 * 1200 + 7, 1200), (3 * 100, 100), (2 * 1420, 1420)] {
                for (sender, receiver) in [(0, 1), (1, 0)] {
                    let sent = bytes(len, sender);
                    let mut both = [&mut a, &mut b];
                    let [first, second] = &mut both;
                    let (sender, receiver) =
                        if sender < receiver { (first, second) } else { (second, first) };
                    sender.send(receiver, &sent, segment).await;
                    let mut got = receiver.receive(len.div_ceil(segment), sender).await;
                    let mut sent: Vec<_> = sent.chunks(segment).map(<[u8]>::to_vec).collect();
                    // What is too long for a datagram may be overtaken by what is not.
                    got.sort();
                    sent.sort();
                    assert!(got == sent, "{from:?} to {to:?}, {len} bytes in packets of {segment}");
                }
            }
        }
    }
    assert_eq!(scene.status("/drops/lane_malformed").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_stay_batches() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Tls, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    let sent = bytes(40 * 1300 + 5, 3);
    a.send(b.key, &sent, 1300).await;
    assert_eq!(b.packets().await, (a.key, sent, 1300));
    let mut c = Client::new(&scene, Way::Quic, holder(1, 3)).await;
    let sent = bytes(10 * 100, 4);
    a.send(c.key, &sent, 100).await;
    // Ten short packets fit one datagram.
    assert_eq!(c.packets().await, (a.key, sent.clone(), 100));
    c.send(a.key, &sent, 100).await;
    assert_eq!(a.packets().await, (c.key, sent, 100));
}

/// Whoever speaks with the hub does its work while it sleeps, and leaves it messages while it works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn packets_of_many_who_speak_at_once_keep_their_order() {
    const TOGETHER: u32 = 8;
    let scene = Scene::new().await;
    let mut pairs = tokio::task::JoinSet::new();
    for node in (1..13).step_by(2) {
        let ways = if node % 4 == 1 { [Way::Tls; 2] } else { [Way::Tls, Way::Quic] };
        let mut a = Client::new(&scene, ways[0], holder(1, node)).await;
        let mut b = Client::new(&scene, ways[1], holder(1, node + 1)).await;
        pairs.spawn(async move {
            for first in (0..400 * TOGETHER).step_by(TOGETHER as usize) {
                for number in first..first + TOGETHER {
                    a.send(b.key, &number.to_be_bytes(), 4).await;
                }
                let mut next = first;
                while next < first + TOGETHER {
                    for number in b.packets().await.1.chunks(4) {
                        assert_eq!(number, next.to_be_bytes());
                        next += 1;
                    }
                }
            }
        });
    }
    while let Some(ended) = pairs.join_next().await {
        ended.expect("all came in their order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_for_a_datagram_goes_by_a_stream() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Quic, holder(1, 2)).await;
    for len in [9_000, 65_535] {
        assert!(b.datagram_limit().is_some_and(|limit| limit < len));
        let sent = bytes(len, 1);
        a.send(b.key, &sent, len).await;
        assert_eq!(b.packets().await, (a.key, sent, len));
    }
    a.send(b.key, b"short", 5).await;
    assert_eq!(b.packets().await, (a.key, b"short".to_vec(), 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_path_carries_packets_that_are_longer() {
    let scene = Scene::new().await;
    // QUIC's least: what is longer does not get through, so quinn keeps to it.
    let links = [Bottleneck::udp(&scene, 1200).await, Bottleneck::udp(&scene, 1200).await];
    let mut a = Client::new(&links[0].relay, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&links[1].relay, Way::Quic, holder(1, 2)).await;
    // More than there may be streams at once.
    let sent: Vec<Vec<u8>> = (0..50).map(|n| bytes(1300, n)).collect();
    for packet in &sent {
        assert!(a.datagram_limit().is_some_and(|limit| limit < packet.len()));
        a.send(b.key, packet, packet.len()).await;
    }
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.push(b.packets().await.1);
    }
    // Each by a stream of its own, in any order.
    got.sort();
    let mut sent = sent;
    sent.sort();
    assert!(got == sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_packet_waits_for_no_other() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Quic, holder(1, 2)).await;
    // As if a part of it were lost, and sent again much later.
    let whole = Session::long(b.key, Batch::single(&[1; 9000]).expect("a batch"));
    let mut half = a.stream().await;
    half.write_all(&whole[..5000]).await.expect("writes");
    a.send(b.key, &[2; 9000], 9000).await;
    assert_eq!(b.packets().await.1, [2; 9000]);
    half.write_all(&whole[5000..]).await.expect("writes");
    half.finish().expect("ends");
    assert_eq!(b.packets().await.1, [1; 9000]);
    // What is no frame ends the service.
    let mut junk = a.stream().await;
    junk.write_all(&whole[..5000]).await.expect("writes");
    junk.finish().expect("ends");
    assert_eq!(a.next().await, Err(SessionError::Refused(Refusal::Malformed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_ipv6_reach_every_way() {
    let any = |text: &str| Some(text.parse().expect("an address"));
    let both = Options { quic: any("[::]:0"), tls: any("[::]:0"), ..options() };
    let scene = Scene::with(both).await;
    let by = |ip: &str| {
        let at = |port| (ip.parse::<IpAddr>().expect("an address"), port).into();
        let Addresses { quic, tls, .. } = scene.addresses;
        let addresses = Addresses {
            quic: quic.map(|quic| at(quic.port())),
            tls: at(tls.port()),
            ..scene.addresses
        };
        Relay { addresses, fingerprint: scene.fingerprint.clone() }
    };
    let (v4, v6) = (by("127.0.0.1"), by("::1"));
    let ways = [(&v4, Way::Quic), (&v4, Way::Tls), (&v6, Way::Quic), (&v6, Way::Tls)];
    let mut node = 1;
    for (from, from_way) in ways {
        for (to, to_way) in ways {
            let mut a = Client::new(from, from_way, holder(1, node)).await;
            let mut b = Client::new(to, to_way, holder(1, node + 1)).await;
            node += 2;
            for len in [1, 1000, 9000] {
                let sent = bytes(len, 5);
                a.send(b.key, &sent, len).await;
                assert_eq!(b.packets().await, (a.key, sent.clone(), len));
                b.send(a.key, &sent, len).await;
                assert_eq!(a.packets().await, (b.key, sent, len));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_follows_its_owner_to_another_address() {
    let scene = Scene::new().await;
    let [mut a, mut b] = pair(&scene, [By::Lane(false), By::Lane(false)], [1, 2]).await;
    let (Some(lane_a), Some(lane_b)) = (&mut a.lane, &mut b.lane) else { panic!() };
    lane_a.send(b"before").await;
    assert_eq!(lane_b.receive().await, b"before");
    // As behind a NAT that has forgotten us: another port.
    lane_a.socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    lane_a.send(b"lost").await;
    scene.until("/drops/lane_source", 1).await;
    lane_a.end.rebind(std::time::Instant::now());
    while !lane_a.end.is_bound() {
        lane_a.transmit().await;
        let bytes = lane_a.datagram().await;
        lane_a.end.receive(&bytes, std::time::Instant::now());
    }
    lane_a.send(b"after").await;
    assert_eq!(lane_b.receive().await, b"after");
    lane_b.send(b"back").await;
    assert_eq!(lane_a.receive().await, b"back");
}
