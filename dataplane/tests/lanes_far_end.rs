//! The load that the switch is measured by.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;
#[path = "support/namespace.rs"]
mod namespace;

use std::time::{Duration, Instant};

use dataplane::{FarEnd, LaneId, XdpMode};
use lanes_support::{PORT, Packet, RELAY4, data, lane, load, number};
use namespace::{in_namespace, ip};

const ENDS: u32 = 4;
/// Fewer than a veth's ring has room for.
const FRAMES: u32 = 200;

fn remote(place: u32) -> String {
    format!("198.51.100.7:{}", 40_000 + place)
}

#[test]
fn a_source_sends_for_all_lanes_in_turn_and_the_sink_takes_what_comes_back() {
    in_namespace(|| {
        ip("link add veth0 type veth peer name veth1");
        ip("link set veth0 up");
        ip("link set veth1 up");
        let lanes = (0..ENDS).map(|place| {
            let other = place ^ 1;
            lane(number(place), &remote(place), number(other), &remote(other))
        });
        let mut switch = load(lanes);
        switch.attach("veth0", XdpMode::Driver).unwrap();
        let first =
            Packet::new(&remote(0), &format!("{RELAY4}:{PORT}"), &data(number(0), &[7; 92]));
        let mut far_end = FarEnd::of("veth1", &first.frame(), 4).unwrap();
        far_end.send(FRAMES).unwrap();
        let start = Instant::now();
        while far_end.sunk().unwrap() < FRAMES.into() {
            assert!(start.elapsed() < Duration::from_secs(5), "{} came", far_end.sunk().unwrap());
            std::thread::yield_now();
        }
        for place in 0..ENDS {
            let sent = switch.counters(LaneId(number(place))).unwrap().packets;
            assert_eq!(sent, u64::from(FRAMES / ENDS), "lane {place}");
        }
        assert_eq!(switch.totals().unwrap().drops, []);
    });
}
