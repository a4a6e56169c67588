//! Who pays for lanes, with a clock moved by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, SocketAddr};

use dataplane_common::{
    ClientBucket, ClientPlace, Datagram, DropReason, Judged, Lane, LaneEnd, LaneHeader, LaneId,
    LaneTable, Nanos, NetworkBucket, NetworkPlace, Rate, judge,
};

const RELAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
/// The clients' network.
const NETWORK: NetworkPlace = NetworkPlace(1);
/// Of each packet, with its header.
const SIZE: u64 = 1_000;

/// Clients of one network, each with lanes.
struct Table {
    lanes: Vec<Lane>,
    clients: Vec<ClientBucket>,
    network: NetworkBucket,
    now: Nanos,
}

impl<'a> LaneTable for &'a Table {
    type Entry = &'a Lane;

    fn find(&self, id: LaneId) -> Option<&'a Lane> {
        self.lanes.get(usize::try_from(id.place()).unwrap())
    }

    fn client(&self, place: ClientPlace) -> Option<&ClientBucket> {
        self.clients.get(usize::try_from(place.0).unwrap())
    }

    fn network(&self, place: NetworkPlace) -> Option<&NetworkBucket> {
        Some(&self.network).filter(|_| place == NETWORK)
    }

    fn now(&self) -> Nanos {
        self.now
    }
}

impl Table {
    /// So many clients, each with as many lanes and this rate, in a network with that one.
    fn new(clients: u32, lanes: u32, rate: Rate, network: Option<Rate>) -> Self {
        let lane = |place: u32| {
            let end = |port| LaneEnd::new(SocketAddr::new(HOST, port), RELAY).unwrap();
            let lane = Lane::unbound(LaneId::new(place, 1), end(1));
            lane.bound_to(LaneId(7), end(2)).of_client(ClientPlace(1 + place / lanes))
        };
        let buckets = vec![ClientBucket::default(); clients as usize + 1];
        let place = network.map_or(NetworkPlace(0), |_| NETWORK);
        buckets[1..].iter().for_each(|client| client.allow(rate, place));
        let table = Self {
            lanes: (0..clients * lanes).map(lane).collect(),
            clients: buckets,
            network: NetworkBucket::default(),
            now: Nanos::from_secs(9),
        };
        network.into_iter().for_each(|rate| table.network.allow(rate));
        table
    }

    /// Sends a packet by this lane.
    fn send(&self, lane: u32, run: &[u8]) -> Result<(), DropReason> {
        let payload = LaneHeader::data(LaneId::new(lane, 1)).to_bytes();
        let from = SocketAddr::new(HOST, 1);
        match judge(
            &Datagram::new(&[&payload[..], &[0; 9]].concat(), from, RELAY).of_run(run),
            &self,
        ) {
            Judged::Forward(_) => Ok(()),
            Judged::Drop(reason, _) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// Bytes that pass in ten seconds by lanes that offer so many packets a millisecond. The clock is
    /// as coarse as the kernel's.
    fn passed(&mut self, offers: &[u32]) -> Vec<u64> {
        let (packet, start) = (vec![0; 1_000], self.now.0);
        let mut passed = vec![0; offers.len()];
        for step in 0..10_000 {
            self.now = Nanos(start + step / 4 * 4_000_000);
            for (lane, &offer) in (0..).zip(offers) {
                for _ in 0..offer {
                    passed[lane as usize] += u64::from(self.send(lane, &packet).is_ok()) * SIZE;
                }
            }
        }
        passed
    }
}

fn near(got: u64, wanted: u64) {
    assert!(got.abs_diff(wanted) * 20 <= wanted, "{got} should be {wanted} within 5 %");
}

fn rate(bytes: u64) -> Rate {
    Rate::new(bytes, bytes / 20)
}

#[test]
fn all_lanes_of_a_client_share_its_rate() {
    let table = Table::new(2, 3, Rate::new(1_000_000, 10_000), None);
    let sent = |lane| (0..20).filter(|_| table.send(lane, &[0; 1_000]).is_ok()).count();
    assert_eq!([sent(0), sent(1), sent(2)], [10, 0, 0]);
    assert_eq!(table.send(2, &[0; 1_000]), Err(DropReason::LaneRate));
    assert_eq!(sent(3), 10, "another client has its own");
}

#[test]
fn a_new_rate_holds_at_once_and_refills_nothing() {
    let mut table = Table::new(1, 1, Rate::new(1_000_000, 10_000), None);
    let sent = |table: &Table| (0..20).filter(|_| table.send(0, &[0; 1_000]).is_ok()).count();
    assert_eq!(sent(&table), 10);
    table.clients[1].allow(Rate::new(10_000_000, 100_000), NetworkPlace(0));
    assert_eq!(sent(&table), 0);
    table.now.0 += 1_000_000;
    assert_eq!(sent(&table), 10, "ten times as many in a millisecond");
}

#[test]
fn ten_to_one_are_given_equal_parts_of_their_network() {
    let mut table = Table::new(2, 1, rate(1_000_000_000), Some(rate(2_000_000)));
    let passed = table.passed(&[20, 2]);
    near(passed[0], 10_000_000);
    near(passed[1], 10_000_000);
}

#[test]
fn more_lanes_are_no_greater_part() {
    let mut table = Table::new(2, 4, rate(1_000_000_000), Some(rate(2_000_000)));
    let passed = table.passed(&[5, 5, 5, 5, 2]);
    near(passed[..4].iter().sum(), 10_000_000);
    near(passed[4], 10_000_000);
}

#[test]
fn what_one_leaves_another_has() {
    let mut table = Table::new(2, 1, rate(1_000_000_000), Some(rate(10_000_000)));
    let passed = table.passed(&[20, 1]);
    near(passed[1], 10_000_000);
    near(passed[0], 90_000_000);
    let mut alone = Table::new(1, 1, rate(1_000_000_000), Some(rate(10_000_000)));
    near(alone.passed(&[20])[0], 100_000_000);
}

#[test]
fn what_a_network_refuses_costs_a_client_nothing() {
    let mut table = Table::new(1, 1, rate(10_000_000), Some(rate(1_000_000)));
    near(table.passed(&[20])[0], 10_000_000);
    assert_eq!(table.send(0, &[0; 60_000]), Err(DropReason::NetworkRate));
    let free = Table::new(1, 1, rate(10_000_000), None);
    table.clients[1].allow(rate(10_000_000), NetworkPlace(0));
    let sent = |table: &Table| (0..).take_while(|_| table.send(0, &[0; 1_000]).is_ok()).count();
    assert!(sent(&table) * 2 > sent(&free), "what was refused was not paid");
}

#[test]
fn a_slow_network_still_passes_a_batch() {
    let table = Table::new(1, 1, rate(1_000_000_000), Some(rate(20_000)));
    assert_eq!(table.send(0, &[0; 64_000]), Ok(()));
}
