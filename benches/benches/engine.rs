//! The engine's packet path: one packet out, one packet in, one look-up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::{AllowedIps, Endpoint, Engine, Output, PADDING, Settings, Timestamp};
use ipnet::{IpNet, Ipv4Net};
use proto::key::PrivateKey;
use proto::uapi::{AllowedIpChange, PeerChange, Set};

const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(1000));
/// Datagrams that one round seals or opens: what one segmented send carries.
const BATCH: usize = 64;

struct Node {
    engine: Engine,
    endpoint: Endpoint,
    out: Output,
}

impl Node {
    fn new(number: u8) -> Self {
        let mut engine = Engine::new(Settings { mtu: 1420, seed: number.into() });
        let mut out = Output::default();
        let key = PrivateKey::from([number; 32]);
        let set = Set { private_key: Some(Some(key)), ..Set::default() };
        engine.configure(&set, NOW, &mut out).expect("a key");
        let endpoint = SocketAddr::from(([192, 0, 2, number], 51820)).into();
        Self { engine, endpoint, out }
    }

    fn befriend(&mut self, other: &Self) {
        let change = PeerChange {
            endpoint: Some(other.endpoint.address),
            allowed_ips: vec![AllowedIpChange::Add("0.0.0.0/0".parse().expect("a network"))],
            ..PeerChange::new(other.engine.public_key().expect("a key"))
        };
        let set = Set { peers: vec![change], ..Set::default() };
        self.engine.configure(&set, NOW, &mut self.out).expect("a peer");
    }

    fn send(&mut self, buffer: &mut [u8], len: usize) {
        self.engine.handle_packet(buffer, len, NOW, &mut self.out);
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let batches = self.out.transmits.iter();
        let datagrams =
            batches.flat_map(|batch| batch.datagrams().map(<[u8]>::to_vec).collect::<Vec<_>>());
        let datagrams = datagrams.collect();
        self.out.transmits.clear();
        datagrams
    }
}

fn connected() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.befriend(&b);
    b.befriend(&a);
    let (mut buffer, len) = packet(64);
    a.send(&mut buffer, len);
    for _ in 0..3 {
        for datagram in a.take() {
            b.engine.handle_datagram(a.endpoint, &datagram, NOW, &mut b.out);
        }
        for datagram in b.take() {
            a.engine.handle_datagram(b.endpoint, &datagram, NOW, &mut a.out);
        }
    }
    assert_eq!(b.out.packets.iter().count(), 1, "the pair connects");
    b.out.packets.clear();
    (a, b)
}

/// An IPv4 packet of this length in a buffer with room for padding.
fn packet(len: usize) -> (Vec<u8>, usize) {
    let mut buffer = vec![0; len + PADDING];
    buffer[0] = 0x45;
    buffer[2..4].copy_from_slice(&u16::try_from(len).expect("a length").to_be_bytes());
    (buffer, len)
}

fn out(criterion: &mut Criterion) {
    for len in [64, 1400] {
        let mut group = criterion.benchmark_group("engine_out");
        group.throughput(Throughput::Elements(BATCH as u64));
        let (mut a, _) = connected();
        let (mut buffer, len) = packet(len);
        group.bench_function(format!("{len}_bytes_x{BATCH}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    a.send(&mut buffer, len);
                }
                black_box(a.out.transmits.len());
                a.out.transmits.clear();
            });
        });
    }
}

fn inward(criterion: &mut Criterion) {
    for len in [64, 1400] {
        let mut group = criterion.benchmark_group("engine_in");
        group.throughput(Throughput::Elements(BATCH as u64));
        let (mut a, mut b) = connected();
        let (mut buffer, len) = packet(len);
        let endpoint = a.endpoint;
        group.bench_function(format!("{len}_bytes_x{BATCH}"), |bencher| {
            bencher.iter_batched(
                || {
                    (0..BATCH).for_each(|_| a.send(&mut buffer, len));
                    a.take()
                },
                |datagrams| {
                    for datagram in &datagrams {
                        b.engine.handle_datagram(endpoint, datagram, NOW, &mut b.out);
                    }
                    assert_eq!(b.out.packets.iter().count(), BATCH);
                    b.out.packets.clear();
                    datagrams
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allowed_ips");
    for peers in [1u32, 1_000, 10_000] {
        let mut table = AllowedIps::default();
        for peer in 0..peers {
            let network =
                Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 | peer << 8), 24).expect("a length");
            table.insert(IpNet::V4(network), peer);
        }
        let mut probe = 0u32;
        group.bench_function(format!("{peers}_networks"), |bencher| {
            bencher.iter(|| {
                probe = probe.wrapping_add(7919) % peers;
                black_box(table.lookup(IpAddr::V4(Ipv4Addr::from(0x0a00_0001 | probe << 8))))
            });
        });
    }
}

criterion_group!(benches, out, inward, lookup);
criterion_main!(benches);
