//! How long a packet takes, beside a program that only sends it back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;

use dataplane::{Lane, LaneId, LaneSwitch, Rate};
use lanes_support::{Packet, data, end, load};

/// Fewer than the hops that a packet may make.
const ROUNDS: u32 = 250;

/// Lanes that send a frame round in a circle: what one makes of it is the next one's.
fn circle(one: &str, other: &str, count: u32, rate: Rate) -> Vec<Lane> {
    let ids: Vec<u32> = (0..count).map(|n| LaneId::new(n, n).0).collect();
    let next = ids.iter().cycle().skip(1);
    let ends = [(one, other), (other, one)];
    ids.iter()
        .zip(next)
        .zip(ends.iter().cycle())
        .map(|((id, next), (from, to))| {
            Lane::unbound(LaneId(*id), end(from, to))
                .bound_to(LaneId(*next), end(from, to))
                .with_rate(rate)
        })
        .collect()
}

fn median(times: &mut [u128]) -> u128 {
    times.sort_unstable();
    println!("{:?}", &times[..times.len().min(20)]);
    times[times.len() / 2]
}

/// Nanoseconds of the switch and of the reflector, in turns.
fn measure(switch: &mut LaneSwitch, frame: &[u8]) -> (u128, u128) {
    let (mut switched, mut reflected) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let before = switch.totals().unwrap().packets;
        switched.push(switch.time(frame, ROUNDS).unwrap().as_nanos());
        let after = switch.totals().unwrap().packets;
        assert_eq!(after - before, u64::from(ROUNDS), "each round is switched");
        reflected.push(switch.time_reflector(frame, ROUNDS).unwrap().as_nanos());
    }
    (median(&mut switched), median(&mut reflected))
}

fn compare(name: &str, one: &str, other: &str, count: u32, rate: Rate) -> f64 {
    let lanes = circle(one, other, count, rate);
    let first = lanes[0].id.0;
    let mut switch = load(lanes);
    let mut packet = Packet::new(one, other, &data(first, &[7; 92]));
    packet.hops = 255;
    let (switched, reflected) = measure(&mut switch, &packet.frame());
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds are few")]
    let rate = reflected as f64 / switched as f64;
    println!("{name}: switch {switched} ns, reflector {reflected} ns, rate {rate:.2}");
    rate
}

const FOUR: [&str; 2] = ["192.0.2.1:3478", "192.0.2.9:3478"];
const SIX: [&str; 2] = ["[2001:db8::1]:3478", "[2001:db8::9]:3478"];

#[test]
fn a_switch_takes_at_most_twice_as_long_as_a_reflection() {
    let limited = Rate::new(100_000_000_000, 1_000_000_000);
    compare("IPv4", FOUR[0], FOUR[1], 2, Rate::UNLIMITED);
    compare("IPv6", SIX[0], SIX[1], 2, Rate::UNLIMITED);
    compare("IPv4 limited", FOUR[0], FOUR[1], 2, limited);
    compare("IPv4, 1,000 lanes", FOUR[0], FOUR[1], 1_000, Rate::UNLIMITED);
}
