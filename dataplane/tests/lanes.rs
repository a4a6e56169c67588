//! Frames in, action and frames out: the switch in the kernel, run on frames that exist nowhere else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;

use std::{net::SocketAddr, time::Instant};

use dataplane::{
    ClientPlace, DropReason, Lane, LaneId, LaneOptions, LaneSwitch, NetworkPlace, Rate, Switched,
};
use lanes_support::{
    PORT, Packet, RELAY4, RELAY6, data, end, lane, load, message, number, options,
};

/// Two hosts of each family.
const FOUR: [&str; 2] = ["198.51.100.7:40001", "203.0.113.200:65535"];
const SIX: [&str; 2] = ["[2001:db8:ffff::7]:40001", "[2001:db8:eeee::ff]:1"];

const ONE: u32 = number(1);
const OTHER: u32 = number(2);

fn relay_of(host: &str) -> String {
    match host.parse().unwrap() {
        SocketAddr::V4(_) => format!("{RELAY4}:{PORT}"),
        SocketAddr::V6(_) => format!("[{RELAY6}]:{PORT}"),
    }
}

/// A lane's packet of this host.
fn from(host: &str, payload: &[u8]) -> Packet {
    Packet::new(host, &relay_of(host), &data(ONE, payload))
}

/// The packet that goes on, which must be the only one counted.
fn forwarded(switch: &LaneSwitch, frame: &[u8]) -> Packet {
    let before = switch.totals().unwrap();
    let lane = switch.counters(LaneId(ONE)).unwrap();
    let Switched::Back(out) = switch.run(frame).unwrap() else { panic!("not forwarded") };
    let out = Packet::read(&out);
    let after = switch.totals().unwrap();
    let bytes = out.payload.len() as u64;
    assert_eq!((after.packets, after.bytes), (before.packets + 1, before.bytes + bytes));
    assert_eq!(after.drops, before.drops);
    let counted = switch.counters(LaneId(ONE)).unwrap();
    assert_eq!((counted.packets, counted.bytes), (lane.packets + 1, lane.bytes + bytes));
    out
}

/// The frame is dropped for this reason, which is counted, for the lane too if it was one's.
fn dropped(switch: &LaneSwitch, frame: &[u8], reason: DropReason, of_lane: bool) {
    let before = switch.totals().unwrap();
    let lane = switch.counters(LaneId(ONE));
    assert_eq!(switch.run(frame).unwrap(), Switched::Drop, "{reason:?}");
    let after = switch.totals().unwrap();
    assert_eq!(after.dropped(reason), before.dropped(reason) + 1, "{reason:?}");
    let all = |totals: &dataplane::LaneTotals| totals.drops.iter().map(|(_, n)| n).sum::<u64>();
    assert_eq!(all(&after), all(&before) + 1, "{reason:?}");
    assert_eq!(after.packets, before.packets);
    let of = |lane: Option<dataplane::LaneCounters>| lane.map_or(0, |lane| lane.dropped(reason));
    let counted = of(switch.counters(LaneId(ONE))) - of(lane);
    assert_eq!(counted, u64::from(of_lane), "{reason:?}");
}

/// The frame goes to the host as it was, and nothing is counted.
fn passed(switch: &LaneSwitch, name: &str, frame: &[u8]) {
    let before = switch.totals().unwrap();
    assert_eq!(switch.run(frame).unwrap(), Switched::Pass, "{name}");
    assert_eq!(switch.totals().unwrap(), before, "{name}");
}

#[test]
fn packets_go_on_between_ends_of_any_family() {
    for (source, to) in [(FOUR[0], FOUR[1]), (FOUR[0], SIX[1]), (SIX[0], FOUR[1]), (SIX[0], SIX[1])]
    {
        let switch = load([lane(ONE, source, OTHER, to)]);
        // Odd and even, and as large as an Ethernet frame takes after the change of family.
        for length in [1, 2, 3, 31, 32, 148, 1_300, 1_424] {
            let payload: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            for (hops, traffic_class) in [(64, 0), (2, 0x02), (255, 0xb8 | 0x03), (33, 0xff)] {
                let mut packet = from(source, &payload);
                packet.hops = hops;
                packet.traffic_class = traffic_class;
                let expected = Packet {
                    source: relay_of(to).parse().unwrap(),
                    destination: to.parse().unwrap(),
                    destination_mac: packet.source_mac,
                    source_mac: packet.destination_mac,
                    hops: hops - 1,
                    payload: data(OTHER, &payload),
                    ..packet.clone()
                };
                assert_eq!(forwarded(&switch, &packet.frame()), expected, "{source} to {to}");
            }
        }
    }
}

#[test]
fn every_checksum_is_mended_right() {
    // A payload whose two bytes run through all values makes every UDP checksum, zero too.
    for (source, to) in [(FOUR[0], FOUR[1]), (FOUR[0], SIX[1]), (SIX[0], FOUR[1])] {
        let switch = load([lane(ONE, source, OTHER, to)]);
        for value in (0..=u16::MAX).step_by(7).chain(0..=300) {
            let packet = from(source, &value.to_be_bytes());
            let Switched::Back(out) = switch.run(&packet.frame()).unwrap() else { panic!() };
            let out = Packet::read(&out);
            assert!(out.has_checksum, "{value}: zero is no checksum");
            assert_eq!(out.payload, data(OTHER, &value.to_be_bytes()));
        }
    }
}

#[test]
fn a_datagram_without_checksum_stays_so_or_is_left_to_the_host() {
    let mut packet = from(FOUR[0], &[7; 40]);
    packet.has_checksum = false;
    let switch = load([lane(ONE, FOUR[0], OTHER, FOUR[1])]);
    assert!(!forwarded(&switch, &packet.frame()).has_checksum);
    let switch = load([lane(ONE, FOUR[0], OTHER, SIX[1])]);
    passed(&switch, "IPv6 needs one", &packet.frame());
}

#[test]
fn what_is_wrong_stays_wrong() {
    let mut frame = from(FOUR[0], &[7; 40]).frame();
    // The traffic class: nothing that is compared.
    frame[15] ^= 4;
    let switch = load([lane(ONE, FOUR[0], OTHER, SIX[1])]);
    passed(&switch, "a wrong IPv4 checksum on the way to IPv6", &frame);
    let switch = load([lane(ONE, FOUR[0], OTHER, FOUR[1])]);
    let Switched::Back(out) = switch.run(&frame).unwrap() else { panic!("not forwarded") };
    std::panic::catch_unwind(|| Packet::read(&out)).unwrap_err();
    let mut frame = from(FOUR[0], &[7; 40]).frame();
    *frame.last_mut().unwrap() ^= 1;
    let Switched::Back(out) = switch.run(&frame).unwrap() else { panic!("not forwarded") };
    std::panic::catch_unwind(|| Packet::read(&out)).unwrap_err();
}

#[test]
fn what_may_not_go_on_is_dropped_with_its_reason() {
    use DropReason::{LaneMalformed, LaneSource, LaneTtl, LaneUnknown};
    for [host, to] in [FOUR, SIX] {
        let switch = load([lane(ONE, host, OTHER, to).with_mtu(576)]);
        let honest = from(host, &[7; 40]);
        let change = |change: &dyn Fn(&mut Packet)| {
            let mut packet = honest.clone();
            change(&mut packet);
            packet.frame()
        };
        let other: SocketAddr = to.parse().unwrap();
        forwarded(&switch, &honest.frame());
        type Case<'a> = (&'a dyn Fn(&mut Packet), DropReason, bool);
        let cases: [Case<'_>; 12] = [
            (&|p| p.source.set_ip(other.ip()), LaneSource, true),
            (&|p| p.source.set_port(40_002), LaneSource, true),
            (&|p| p.payload = data(OTHER, &[7; 40]), LaneUnknown, false),
            (&|p| p.payload = data(number(1) ^ (1 << 31), &[7; 40]), LaneUnknown, false),
            (&|p| p.payload = data(number(100_000), &[7; 40]), LaneUnknown, false),
            (&|p| p.payload = data(0, &[7; 40]), LaneUnknown, false),
            (&|p| p.hops = 1, LaneTtl, true),
            (&|p| p.hops = 0, LaneTtl, true),
            (&|p| p.payload = message(8, ONE, &[]), LaneMalformed, false),
            (&|p| p.payload = data(ONE, &[])[..7].to_vec(), LaneMalformed, false),
            (&|p| p.payload = data(ONE, &[]), LaneMalformed, false),
            (&|p| p.payload = b"GET / HTTP/1.1".to_vec(), LaneMalformed, false),
        ];
        for (index, (what, reason, of_lane)) in cases.into_iter().enumerate() {
            println!("{host}: case {index}");
            dropped(&switch, &change(what), reason, of_lane);
        }

        let alone = Lane::unbound(LaneId(ONE), end(host, &relay_of(host)));
        let switch = load([alone]);
        passed(&switch, "the other end may have a connection", &honest.frame());
        dropped(&switch, &change(&|p| p.source.set_port(40_002)), LaneSource, true);
    }
}

#[test]
fn the_largest_packet_goes_on_and_no_larger() {
    for (host, to, headers) in
        [(FOUR[0], FOUR[1], 28), (FOUR[0], SIX[1], 48), (SIX[0], FOUR[1], 28)]
    {
        let switch = load([lane(ONE, host, OTHER, to).with_mtu(1_000)]);
        let largest = 1_000 - headers - 8;
        forwarded(&switch, &from(host, &vec![1; largest]).frame());
        let larger = from(host, &vec![1; largest + 1]).frame();
        passed(&switch, "user space sends it in pieces", &larger);
    }
}

/// What the buckets allow is fixed for user space too; here it is that the kernel asks them.
#[test]
fn lanes_send_their_clients_burst_and_no_more() {
    const SECOND: u64 = 16_000;
    let (rate, client) = (Rate::new(SECOND, 20_000), ClientPlace(5));
    let start = Instant::now();
    let lane = |id, to| lane(id, FOUR[0], OTHER, to).of_client(client);
    let mut switch = load([lane(ONE, FOUR[1]), lane(number(3), FOUR[1])]);
    switch.allow_client(client, rate, NetworkPlace(0)).unwrap();
    let frames = [ONE, number(3)]
        .map(|id| Packet::new(FOUR[0], &relay_of(FOUR[0]), &data(id, &[7; 992])).frame());
    let flood = |switch: &LaneSwitch| {
        let all = frames.iter().cycle().take(60);
        all.filter(|frame| switch.run(frame).unwrap() != Switched::Drop).count()
    };
    let mut sent = flood(&switch);
    assert!(sent >= 20, "{sent} packets of 1,000 bytes");
    // To bind one again does not fill the bucket, nor does another rate.
    switch.insert(lane(ONE, SIX[1])).unwrap();
    switch.allow_client(client, rate, NetworkPlace(0)).unwrap();
    sent += flood(&switch);
    let allowed = 20_000 + u64::try_from(start.elapsed().as_millis()).unwrap() * SECOND / 1_000;
    assert!(sent as u64 * 1_000 <= allowed + 1_000, "{sent} packets, {allowed} bytes allowed");
    let lanes = [ONE, number(3)].map(|id| switch.counters(LaneId(id)).unwrap());
    let dropped: u64 = lanes.iter().map(|lane| lane.dropped(DropReason::LaneRate)).sum();
    assert_eq!(dropped, 120 - sent as u64);
    assert!(lanes.iter().all(|lane| lane.packets > 0), "one of them had all");
}

#[test]
fn lanes_send_their_networks_rate_and_no_more() {
    let network = NetworkPlace(3);
    let lane = |id, client| lane(id, FOUR[0], OTHER, FOUR[1]).of_client(client);
    let clients = [ClientPlace(1), ClientPlace(2)];
    let mut switch = load([lane(ONE, clients[0]), lane(number(3), clients[1])]);
    switch.allow_network(network, Rate::new(100_000, 0)).unwrap();
    for client in clients {
        switch.allow_client(client, Rate::UNLIMITED, network).unwrap();
    }
    let start = Instant::now();
    let sent: usize = [ONE, number(3), ONE, number(3)]
        .map(|id| {
            let frame = Packet::new(FOUR[0], &relay_of(FOUR[0]), &data(id, &[7; 992])).frame();
            (0..1_000).filter(|_| switch.run(&frame).unwrap() != Switched::Drop).count()
        })
        .iter()
        .sum();
    // Each has its part's burst, which is 2^17 bytes at so slow a rate, and what comes to it.
    let most = 3 * (1 << 17) + u64::try_from(start.elapsed().as_millis()).unwrap() * 100;
    assert!((100_000..=most).contains(&(sent as u64 * 1_000)), "{sent} packets");
    let dropped = switch.totals().unwrap().dropped(DropReason::NetworkRate);
    assert_eq!(dropped, 4_000 - sent as u64);
    let no_such = switch.allow_client(ClientPlace(1_000), Rate::UNLIMITED, network);
    assert!(no_such.is_err(), "there are a thousand places, and the first is nobody's");
}

#[test]
fn everything_else_goes_to_the_host_untouched() {
    for [host, to] in [FOUR, SIX] {
        let switch = load([lane(ONE, host, OTHER, to)]);
        let honest = from(host, &[7; 40]);
        let frame = honest.frame();
        let is_v4 = honest.source.is_ipv4();
        let ip = 14;
        let with = |changes: &[(usize, u8)]| {
            let mut frame = frame.clone();
            changes.iter().for_each(|(at, byte)| frame[*at] = *byte);
            frame
        };
        for kind in 1..=7 {
            let mut packet = honest.clone();
            packet.payload = message(kind, ONE, &[0; 56]);
            passed(&switch, "about a lane", &packet.frame());
        }
        let mut elsewhere = honest.clone();
        elsewhere.destination.set_port(PORT + 1);
        passed(&switch, "another port", &elsewhere.frame());
        passed(&switch, "another protocol", &with(&[(if is_v4 { 23 } else { 20 }, 6)]));
        passed(&switch, "a group of stations", &with(&[(0, 0x33)]));
        passed(&switch, "a VLAN", &[&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat());
        passed(&switch, "not IP", &with(&[(12, 0x88), (13, 0xcc)]));
        passed(&switch, "cut short", &frame[..frame.len() - 1]);
        passed(&switch, "cut in the header", &frame[..40]);
        if is_v4 {
            passed(&switch, "a first fragment", &with(&[(ip + 6, 0x20)]));
            passed(&switch, "a later fragment", &with(&[(ip + 7, 1)]));
            let options = [&with(&[(ip, 0x46)])[..34], &[1, 1, 1, 1], &frame[34..]].concat();
            passed(&switch, "IP options", &options);
            passed(&switch, "a wrong length", &with(&[(39, 47)]));
        } else {
            let header = [&with(&[(20, 44)])[..54], &[17, 0, 0, 1, 0, 0, 0, 0], &frame[54..]];
            passed(&switch, "a fragment header", &header.concat());
            passed(&switch, "no checksum", &with(&[(60, 0), (61, 0)]));
        }
        // The relay may stand before others, which have ports of their own.
        let mut others = honest.clone();
        others
            .destination
            .set_ip(if is_v4 { "192.0.2.77" } else { "2001:db8::77" }.parse().unwrap());
        passed(&switch, "another host's lane", &others.frame());
        others.payload = b"whatever".to_vec();
        passed(&switch, "another host's datagram", &others.frame());
    }
    let switch = load([lane(ONE, FOUR[0], OTHER, FOUR[1])]);
    let mut mapped = Packet::new(SIX[0], &format!("[{RELAY6}]:{PORT}"), &data(ONE, &[1; 40]));
    mapped.source = "[::ffff:198.51.100.7]:40001".parse().unwrap();
    mapped.destination = format!("[::ffff:{RELAY4}]:{PORT}").parse().unwrap();
    let mut frame = mapped.frame();
    assert_eq!(frame.len(), 14 + 40 + 8 + 48);
    passed(&switch, "an IPv4 host's address in IPv6", &frame);
    frame.truncate(14);
    passed(&switch, "nothing but Ethernet", &frame);
}

#[test]
fn lanes_come_and_go() {
    let mut switch = load([]);
    let frame = from(FOUR[0], &[7; 92]).frame();
    dropped(&switch, &frame, DropReason::LaneUnknown, false);
    switch.insert(lane(ONE, FOUR[0], OTHER, FOUR[1])).unwrap();
    assert_eq!(forwarded(&switch, &frame).destination, FOUR[1].parse().unwrap());
    // Bound again, after a change of its NAT.
    switch.insert(lane(ONE, FOUR[0], OTHER, SIX[1])).unwrap();
    assert_eq!(forwarded(&switch, &frame).destination, SIX[1].parse().unwrap());

    // Its place is taken: by number, not by place alone.
    let next = LaneId::new(1, 77);
    assert_ne!(next, LaneId(ONE));
    let error = switch.insert(lane(next.0, FOUR[0], OTHER, FOUR[1])).unwrap_err();
    assert!(error.to_string().contains("has place 1"), "{error}");
    assert_eq!(switch.remove(next).unwrap(), None);

    let sent = switch.remove(LaneId(ONE)).unwrap().unwrap();
    assert_eq!((sent.packets, sent.bytes), (2, 200));
    assert_eq!((switch.remove(LaneId(ONE)).unwrap(), switch.counters(LaneId(ONE))), (None, None));
    dropped(&switch, &frame, DropReason::LaneUnknown, false);

    // The next one there starts from nothing, and the late packet is still nobody's.
    switch.insert(lane(next.0, FOUR[0], OTHER, FOUR[1])).unwrap();
    assert_eq!(switch.counters(next).unwrap(), Default::default());
    dropped(&switch, &frame, DropReason::LaneUnknown, false);
    assert_eq!(switch.totals().unwrap().packets, 2, "of the lane that was");
}

#[test]
fn a_table_that_is_full_says_so() {
    let mut switch = LaneSwitch::load(LaneOptions { capacity: 2, ..options() }).unwrap();
    for place in 0..2 {
        switch.insert(lane(number(place), FOUR[0], OTHER, FOUR[1])).unwrap();
    }
    let error = switch.insert(lane(number(2), FOUR[0], OTHER, FOUR[1])).unwrap_err();
    assert!(error.to_string().contains("2 places"), "{error}");
}

#[test]
fn a_hundred_thousand_lanes_have_room() {
    let count = 100_000;
    let mut switch = LaneSwitch::load(LaneOptions { capacity: count, ..options() }).unwrap();
    for place in 0..count {
        let host = format!("10.{}.{}.{}:5000", place >> 16, (place >> 8) & 0xff, place & 0xff);
        switch.insert(lane(number(place), &host, number(place ^ 1), FOUR[1])).unwrap();
    }
    for place in [0, 1, 255, 65_536, count - 1] {
        let host = format!("10.{}.{}.{}:5000", place >> 16, (place >> 8) & 0xff, place & 0xff);
        let packet = Packet::new(&host, &relay_of(&host), &data(number(place), &[3; 32]));
        let Switched::Back(out) = switch.run(&packet.frame()).unwrap() else { panic!("{place}") };
        assert_eq!(Packet::read(&out).payload, data(number(place ^ 1), &[3; 32]));
    }
    assert_eq!(switch.totals().unwrap().packets, 5);
}
