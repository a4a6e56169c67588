//! The kernel and user space switch alike, frame by frame and byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;

use dataplane::{DropReason, Lane, LaneId, LaneSwitch, Switched};
use dataplane_common::LaneAction;
use lanes_support::{Model, PORT, Packet, RELAY4, RELAY6, data, end, lane, load, message, number};
use proptest::{collection::vec, prelude::*, sample::select};

const HOSTS: [&str; 4] =
    ["198.51.100.7:40001", "203.0.113.200:9", "[2001:db8:ffff::7]:40001", "[2001:db8::e]:9"];

/// Every host has a lane to each, one of them narrow, and one whose other end is not bound.
fn lanes() -> Vec<Lane> {
    let mut lanes = Vec::new();
    for (from, host) in HOSTS.iter().enumerate() {
        for (to, other) in HOSTS.iter().enumerate() {
            let place = u32::try_from(4 * from + to).unwrap();
            let mtu = if to == 1 { 300 } else { 1_500 };
            lanes.push(lane(number(place), host, number(place ^ 3), other).with_mtu(mtu));
        }
    }
    let relay = format!("{RELAY4}:{PORT}");
    lanes.push(Lane::unbound(LaneId(number(16)), end(HOSTS[0], &relay)));
    lanes
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let places = prop_oneof![20 => 0u32..18, 1 => any::<u32>()];
    let lane = (places, vec(any::<u8>(), 0..400))
        .prop_map(|(place, payload)| data(number(place), &payload));
    let control = (any::<u8>(), 0u32..20, vec(any::<u8>(), 0..60))
        .prop_map(|(kind, place, rest)| message(kind, number(place), &rest));
    let attribute = (
        select(vec![0x8022u16, 0x8028, 0x0003, 0xc001]),
        select(vec![0u16, 1, 4, 4, 8, 20, 300]),
        vec(any::<u8>(), 0..24),
    )
        .prop_map(|(kind, length, mut value)| {
            value.resize(value.len().next_multiple_of(4), 0);
            [&kind.to_be_bytes()[..], &length.to_be_bytes(), &value].concat()
        });
    let stun = (vec(attribute, 0..4), any::<[u8; 12]>(), select(vec![1u16, 1, 1, 0x101])).prop_map(
        |(attributes, transaction, kind)| {
            let body = attributes.concat();
            let mut message = kind.to_be_bytes().to_vec();
            message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            message.extend([0x21, 0x12, 0xa4, 0x42]);
            message.extend(transaction);
            message.extend(body);
            message
        },
    );
    prop_oneof![8 => lane, 1 => control, 3 => stun, 1 => vec(any::<u8>(), 0..40)]
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let port = prop_oneof![20 => Just(PORT), 1 => any::<u16>()];
    let hops = prop_oneof![8 => 2u8..=255, 1 => 0u8..2];
    let well_formed = (select(HOSTS.to_vec()), port, hops, any::<u8>(), 0u8..8, payload(), 0u8..20)
        .prop_map(|(host, port, hops, traffic_class, checksum, payload, elsewhere)| {
            let relay = match (host.starts_with('['), elsewhere) {
                (false, 0) => "192.0.2.77".to_owned(),
                (true, 0) => "[2001:db8::77]".to_owned(),
                (false, _) => RELAY4.to_owned(),
                (true, _) => format!("[{RELAY6}]"),
            };
            let mut packet = Packet::new(host, &format!("{relay}:{port}"), &payload);
            packet.hops = hops;
            packet.traffic_class = traffic_class;
            packet.has_checksum = host.starts_with('[') || checksum > 0;
            packet.frame()
        });
    let spoilt = (well_formed, any::<prop::sample::Index>(), 0u8..12, 0usize..30).prop_map(
        |(mut frame, at, spoil, more)| {
            match spoil {
                0 => frame.truncate(14 + at.index(frame.len() - 13)),
                1 => {
                    let byte = at.index(70.min(frame.len()));
                    frame[byte] ^= 1 << at.index(8);
                }
                2 => frame.resize(frame.len() + more, 0xee),
                _ => {}
            }
            frame
        },
    );
    prop_oneof![20 => spoilt, 1 => vec(any::<u8>(), 14..120)]
}

/// What the kernel has counted of a reason.
fn dropped(switch: &LaneSwitch, reason: DropReason) -> u64 {
    switch.totals().unwrap().dropped(reason)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_switches_as_user_space(frames in vec(frame(), 200..300)) {
        let kernel = load(lanes());
        let model = Model::new(lanes());
        for frame in frames {
            let (action, expected) = model.switch(&frame);
            let before = kernel.totals().unwrap();
            let switched = kernel.run(&frame).unwrap();
            match action {
                LaneAction::Pass | LaneAction::Control(_) => {
                    prop_assert_eq!(switched, Switched::Pass, "{:02x?}", frame);
                }
                LaneAction::Answer => {
                    prop_assert_eq!(switched, Switched::Back(expected), "{:02x?}", frame);
                    prop_assert_eq!(kernel.totals().unwrap().answers, before.answers + 1);
                }
                LaneAction::Forward(forwarded) => {
                    prop_assert_eq!(switched, Switched::Back(expected), "{:02x?}", frame);
                    prop_assert_eq!(kernel.totals().unwrap().packets, before.packets + 1);
                    prop_assert!(kernel.counters(forwarded.id).is_some());
                }
                LaneAction::Drop(reason, _) => {
                    prop_assert_eq!(switched, Switched::Drop, "{:?} {:02x?}", reason, frame);
                    prop_assert_eq!(dropped(&kernel, reason), before.dropped(reason) + 1);
                }
            }
        }
    }
}
