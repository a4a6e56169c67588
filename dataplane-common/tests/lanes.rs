//! The arithmetic of lanes: numbers, rates and judgement, with a clock moved by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;

use dataplane_common::{
    Address, Allowance, AskerNetwork, ClientBucket, ClientPlace, Datagram, DropReason, Judged,
    Lane, LaneEnd, LaneHeader, LaneId, LaneKind, LaneTable, MAX_LANE_ENDS, Nanos, NetworkBucket,
    NetworkPlace, Rate, judge, stun,
};
use proptest::prelude::*;

const RELAY: &str = "192.0.2.1:3478";
const HERE: &str = "198.51.100.7:40001";
const THERE: &str = "[2001:db8::7]:9";

fn end(remote: &str, relay: &str) -> LaneEnd {
    LaneEnd::new(remote.parse().unwrap(), relay.parse::<SocketAddr>().unwrap().ip()).unwrap()
}

fn lane(id: LaneId) -> Lane {
    Lane::unbound(id, end(HERE, RELAY)).bound_to(LaneId(7), end(THERE, "[2001:db8::1]:3478"))
}

/// One lane, at one moment, of a client that is in no network.
struct Table(Lane, Nanos, ClientBucket);

impl Table {
    fn new(lane: Lane) -> Self {
        Self(lane.of_client(ClientPlace(1)), Nanos(0), ClientBucket::default())
    }

    fn with_rate(lane: Lane, rate: Rate, now: Nanos) -> Self {
        let table = Self(lane.of_client(ClientPlace(1)), now, ClientBucket::default());
        table.2.allow(rate, NetworkPlace(0));
        table
    }
}

impl<'a> LaneTable for &'a Table {
    type Entry = &'a Lane;

    fn find(&self, id: LaneId) -> Option<&'a Lane> {
        Some(&self.0).filter(|lane| lane.id() == id)
    }

    fn client(&self, place: ClientPlace) -> Option<&ClientBucket> {
        Some(&self.2).filter(|_| place == ClientPlace(1))
    }

    fn network(&self, _: NetworkPlace) -> Option<&NetworkBucket> {
        None
    }

    fn now(&self) -> Nanos {
        self.1
    }
}

/// Where a datagram goes, as far as it does.
#[derive(Debug, PartialEq)]
enum To {
    Other(LaneId),
    UserSpace,
}

fn judged(table: &Table, from: &str, to: &str, payload: &[u8]) -> Result<To, DropReason> {
    let [from, to]: [SocketAddr; 2] = [from, to].map(|end| end.parse().unwrap());
    match judge(&Datagram::new(payload, from, to.ip()), &table) {
        Judged::Forward(lane) => Ok(To::Other(lane.onward().unwrap())),
        Judged::Up(_) => Ok(To::UserSpace),
        Judged::Drop(reason, _) => Err(reason),
        other => panic!("{other:?}"),
    }
}

fn data(id: LaneId, length: usize) -> Vec<u8> {
    let mut bytes = LaneHeader::data(id).to_bytes().to_vec();
    bytes.resize(8 + length, 0);
    bytes
}

#[test]
fn a_socket_judges_as_the_kernel() {
    let id = LaneId::new(5, 99);
    let table = Table::new(lane(id).with_mtu(1_000));
    assert_eq!(judged(&table, HERE, RELAY, &data(id, 944)), Ok(To::Other(LaneId(7))));
    // A dual-stack socket tells of IPv4 by mapped addresses.
    let mapped = ["[::ffff:198.51.100.7]:40001", "[::ffff:192.0.2.1]:3478"];
    assert_eq!(judged(&table, mapped[0], mapped[1], &data(id, 1)), Ok(To::Other(LaneId(7))));
    for (from, to, payload, reason) in [
        ("198.51.100.7:40002", RELAY, data(id, 1), DropReason::LaneSource),
        (HERE, "192.0.2.2:3478", data(id, 1), DropReason::LaneSource),
        (HERE, RELAY, data(LaneId::new(5, 98), 1), DropReason::LaneUnknown),
        (HERE, RELAY, vec![0xb7], DropReason::LaneMalformed),
        (HERE, RELAY, vec![], DropReason::LaneMalformed),
        (HERE, RELAY, data(id, 0), DropReason::LaneMalformed),
    ] {
        assert_eq!(judged(&table, from, to, &payload), Err(reason), "{from} {to}");
    }
    // What does not fit is user space's to send in pieces.
    assert_eq!(judged(&table, HERE, RELAY, &data(id, 945)), Ok(To::UserSpace));
    let alone = Table::new(Lane::unbound(id, end(HERE, RELAY)));
    assert_eq!(judged(&alone, HERE, RELAY, &data(id, 1)), Ok(To::UserSpace));
    let v6 = THERE.parse::<SocketAddr>().unwrap().ip();
    assert_eq!(LaneEnd::new(HERE.parse().unwrap(), v6), None);
}

#[test]
fn a_bucket_fills_with_time() {
    let id = LaneId::new(0, 0);
    let rate = Rate::new(1_000_000, 10_000);
    let mut table = Table::with_rate(lane(id), rate, Nanos::from_secs(9));
    let sent = |table: &Table| {
        (0..100).filter(|_| judged(table, HERE, RELAY, &data(id, 992)).is_ok()).count()
    };
    assert_eq!(sent(&table), 10, "ten thousand bytes at once");
    table.1.0 += 5_000_000;
    assert_eq!(sent(&table), 5, "five thousand in as many microseconds");
    table.1 = Nanos::from_secs(99);
    assert_eq!(sent(&table), 10, "and never more than the burst");
    // What is dropped for another reason costs nothing.
    table.1 = Nanos::from_secs(199);
    for _ in 0..100 {
        assert!(judged(&table, THERE, "[::1]:3478", &data(id, 992)).is_err());
    }
    assert_eq!(sent(&table), 10);
}

#[test]
fn askers_share_what_their_network_may_have() {
    let network = |address: &str| {
        AskerNetwork::of(&Address::from(address.parse::<std::net::IpAddr>().unwrap()))
    };
    assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
    assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
    assert_eq!(network("2001:db8:1:2200::1"), network("2001:db8:1:22ff::2"));
    assert_ne!(network("2001:db8:1:2200::1"), network("2001:db8:1:2300::1"));
    let allowance = Allowance::from_words(Allowance::new(100, 5).to_words()).expect("one");
    let (mut spent, mut taken) = (Nanos(0), 0);
    while let Some(until) = allowance.take(spent, Nanos::from_secs(7)) {
        (spent, taken) = (until, taken + 1);
    }
    assert_eq!(taken, 5);
    assert!(allowance.take(spent, Nanos(7_010_000_000)).is_some());
}

#[test]
fn a_run_is_charged_as_a_whole() {
    let id = LaneId::new(0, 0);
    let rate = Rate::new(1_000_000, 10_000);
    let table = Table::with_rate(lane(id), rate, Nanos::from_secs(9));
    let run = data(id, 992).repeat(4);
    let [from, to]: [SocketAddr; 2] = [HERE, RELAY].map(|end| end.parse().unwrap());
    let judged = || judge(&Datagram::new(&run[..1_000], from, to.ip()).of_run(&run), &&table);
    assert!(matches!([judged(), judged()], [Judged::Forward(_), Judged::Forward(_)]));
    assert!(matches!(judged(), Judged::Drop(DropReason::LaneRate, _)), "two thousand are left");
}

proptest! {
    #[test]
    fn a_header_round_trips(kind in 0u8..8, number in 1u32..) {
        let lane = LaneId::from_number(number).unwrap();
        let header = LaneHeader { kind: LaneKind::of(kind).unwrap(), lane };
        prop_assert_eq!(header.kind as u8, kind);
        prop_assert_eq!(LaneHeader::parse(header.to_bytes()), Some(header));
    }

    #[test]
    fn what_is_no_header_is_none(bytes: [u8; 8]) {
        let header = LaneHeader::parse(bytes);
        prop_assert!(header.is_none_or(|header| header.to_bytes() == bytes));
    }

    #[test]
    fn a_number_tells_its_place(place in 0..MAX_LANE_ENDS, random: u32) {
        let id = LaneId::new(place, random);
        prop_assert_eq!(id.place(), place);
        prop_assert_ne!(id.0, 0);
    }

    #[test]
    fn a_rate_is_kept(bytes_per_second in 20_000u64..20_000_000_000, length in 60u32..1_500) {
        let rate = Rate::new(bytes_per_second, 0);
        let (mut spent, mut now, mut sent) = (Nanos(0), 1_000_000_000u64, 0u64);
        let start = now;
        // As fast as there is room for a packet, for a thousand of them.
        while sent < 1_000 {
            match rate.take(spent, length, Nanos(now)) {
                Some(until) => (spent, sent) = (until, sent + 1),
                None => now += u64::from(length) * 1_000_000_000 / bytes_per_second / 4 + 1,
            }
        }
        let allowed = (now - start + 10_000_000) as f64 * bytes_per_second as f64 / 1e9;
        prop_assert!((sent * u64::from(length)) as f64 <= allowed * 1.05 + f64::from(length));
    }

    #[test]
    fn any_bytes_are_no_trouble(bytes: Vec<u8>, length in 0u32..2_000) {
        let _ = stun::parse(&bytes[..], 0, length);
        let from: SocketAddr = HERE.parse().unwrap();
        let table = Table::new(lane(LaneId(1)));
        let _ = judge(&Datagram::new(&bytes, from, RELAY.parse::<SocketAddr>().unwrap().ip()), &&table);
    }

    #[test]
    fn an_answer_is_no_request(transaction: [u8; 12], fingerprint: bool, port: u16, v6: bool) {
        let request = stun::Request { transaction, fingerprint };
        let source = if v6 { THERE } else { HERE }.parse::<SocketAddr>().unwrap().ip();
        let answer = stun::Response::new(&request, &Address::from(source), port);
        let length = u32::try_from(answer.bytes().len()).unwrap();
        prop_assert_eq!(stun::parse(answer.bytes(), 0, length), None);
    }
}
