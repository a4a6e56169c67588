//! The engine's packet path: one packet out, one packet in, one look-up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::pair::{NOW, connected};
use engine::{AllowedIps, PADDING};
use ipnet::{IpNet, Ipv4Net};

/// Datagrams that one round seals or opens: what one segmented send carries.
const BATCH: usize = 64;

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
                    a.engine.handle_packet(&mut buffer, len, NOW, &mut a.out);
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
                    (0..BATCH)
                        .for_each(|_| a.engine.handle_packet(&mut buffer, len, NOW, &mut a.out));
                    a.take_datagrams()
                },
                |datagrams| {
                    for datagram in &datagrams {
                        b.receive(endpoint, datagram);
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
