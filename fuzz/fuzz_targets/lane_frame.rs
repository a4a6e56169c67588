//! Any frame may come to a NIC on which lanes are switched: what goes on is whole and what is left to
//! the host is as it came.
#![no_main]

#[path = "../../dataplane/tests/lanes_support/mod.rs"]
mod lanes_support;

use dataplane_common::LaneAction;
use lanes_support::{Model, PORT, Packet, RELAY4, RELAY6, data, lane, number};
use libfuzzer_sys::fuzz_target;

const V4: &str = "198.51.100.7:40001";
const V6: &str = "[2001:db8:ffff::7]:40001";

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    // From each family to each.
    let ways = [(V4, V4), (V4, V6), (V6, V4), (V6, V6)];
    let lanes = (0..).zip(ways).map(|(place, (from, to))| {
        let mtu = if place == 1 { 300 } else { 1500 };
        lane(number(place), from, number(place + 8), to).with_mtu(mtu)
    });
    let model = Model::new(lanes);
    // A frame as it is; or in one as an honest host sends it, any payload, or data of a lane.
    let place = kind & 3;
    let well_formed = match (kind >> 2) & 3 {
        0 => None,
        1 => Some(bytes.to_vec()),
        _ => Some(data(number(place.into()), bytes)),
    };
    let well_formed = well_formed.filter(|payload| payload.len() <= 9000).map(|payload| {
        let (from, _) = ways[usize::from(place)];
        let relay = if from == V4 { RELAY4.to_owned() } else { format!("[{RELAY6}]") };
        Packet::new(from, &format!("{relay}:{PORT}"), &payload)
    });
    let frame = well_formed.as_ref().map_or_else(|| bytes.to_vec(), Packet::frame);
    let (action, after) = model.switch(&frame);
    match action {
        LaneAction::Pass | LaneAction::Control(_) => assert_eq!(after, frame),
        LaneAction::Drop(..) => {}
        LaneAction::Answer => {
            // Reading it holds lengths and checksums to be right.
            let answer = well_formed.map(|asked| (Packet::read(&after), asked));
            assert!(answer.is_none_or(|(answer, asked)| answer.destination == asked.source));
        }
        LaneAction::Forward(_) => {
            if let Some(sent) = well_formed {
                let forwarded = Packet::read(&after);
                assert_eq!(forwarded.payload[8..], sent.payload[8..]);
                assert_eq!(forwarded.hops, sent.hops - 1);
            }
        }
    }
});
