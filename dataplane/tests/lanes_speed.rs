//! How long a packet takes, beside a program that only sends it back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;

use dataplane::{ClientPlace, Lane, LaneId, LaneSwitch, NetworkPlace, Rate};
use lanes_support::{Packet, data, end, load};

/// Fewer than the hops that a packet may make.
const ROUNDS: u32 = 250;

/// Lanes that send a frame round in a circle: what one makes of it is the next one's.
fn circle(one: &str, other: &str, count: u32) -> Vec<Lane> {
    let ids: Vec<u32> = (0..count).map(|n| LaneId::new(n, n).0).collect();
    let next = ids.iter().cycle().skip(1);
    let ends = [(one, other), (other, one)];
    ids.iter()
        .zip(next)
        .zip(ends.iter().cycle())
        .map(|((id, next), (from, to))| {
            Lane::unbound(LaneId(*id), end(from, to))
                .bound_to(LaneId(*next), end(from, to))
                .of_client(client(LaneId(*id)))
        })
        .collect()
}

/// Each lane's client is another.
fn client(id: LaneId) -> ClientPlace {
    ClientPlace(id.place() % 999 + 1)
}

/// The best of many: what other programs do to the machine only ever adds.
fn best(take: impl FnMut() -> u128) -> u128 {
    std::iter::repeat_with(take).take(60).min().unwrap()
}

/// Nanoseconds of the switch and of the reflector.
fn measure(switch: &mut LaneSwitch, frame: &[u8]) -> (u128, u128) {
    let before = switch.totals().unwrap().packets;
    let switched = best(|| switch.time(frame, ROUNDS).unwrap().as_nanos());
    let after = switch.totals().unwrap().packets;
    assert_eq!(after - before, 60 * u64::from(ROUNDS), "each round is switched");
    let reflected = best(|| switch.time_reflector(frame, ROUNDS).unwrap().as_nanos());
    (switched, reflected)
}

fn compare(name: &str, [one, other]: [&str; 2], count: u32, rate: Rate) -> (u128, u128) {
    let lanes = circle(one, other, count);
    let ids: Vec<LaneId> = lanes.iter().map(Lane::id).collect();
    let (first, mut switch) = (ids[0].0, load(lanes));
    for id in ids {
        switch.allow_client(client(id), rate, NetworkPlace(0)).unwrap();
    }
    let mut packet = Packet::new(one, other, &data(first, &[7; 92]));
    packet.hops = 255;
    let (switched, reflected) = measure(&mut switch, &packet.frame());
    println!("{name}: switch {switched} ns, reflector {reflected} ns");
    (switched, reflected)
}

const FOUR: [&str; 2] = ["192.0.2.1:3478", "192.0.2.9:3478"];
const SIX: [&str; 2] = ["[2001:db8::1]:3478", "[2001:db8::9]:3478"];

/// The goal is twice; what fails here is a switch that has become another thing.
#[test]
fn a_switch_is_not_far_from_a_reflector() {
    let limited = Rate::new(100_000_000_000, 1_000_000_000);
    for (name, hosts, count, rate) in [
        ("IPv4", FOUR, 2, Rate::UNLIMITED),
        ("IPv6", SIX, 2, Rate::UNLIMITED),
        ("IPv4, with a rate", FOUR, 2, limited),
        ("IPv4, 1,000 lanes in turn", FOUR, 1_000, Rate::UNLIMITED),
    ] {
        let (switched, reflected) = compare(name, hosts, count, rate);
        assert!(switched <= 6 * reflected, "{name}: {switched} ns against {reflected} ns");
    }
}
