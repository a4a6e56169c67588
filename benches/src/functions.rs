//! Steps that need no session: cut, join, sum, look up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use engine::pair::{deliver, split};
use engine::{AllowedIps, HostOffload, Packets, checksum};
use ipnet::{IpNet, Ipv4Net};

use crate::packets::{SuperPacket, Transport, padded, stream};
use crate::{Step, Work};

/// What one super-packet of full segments holds.
const SEGMENTS: usize = 46;
/// Checksums and look-ups are short: many to a round, so that reading the clock does not count.
const MANY: usize = 1024;

pub(crate) fn steps() -> Vec<Step> {
    let table = |name, networks| Step::new("allowed IPs", name, MANY, LookUp::new(networks));
    vec![
        cut("tcp", Transport::Tcp),
        cut("udp", Transport::Udp),
        Step::new("coalesce", "tcp", SEGMENTS, Coalesce::new()),
        Step::new("checksum", "1400", MANY, Checksum(padded(1400))),
        table("10", 10),
        table("1000", 1_000),
        table("10000", 10_000),
    ]
}

fn cut(name: &'static str, transport: Transport) -> Step {
    let whole = SuperPacket::new(transport);
    Step::new("split", name, whole.packets, Split(whole))
}

struct Split(SuperPacket);

impl Work for Split {
    fn prepare(&mut self) {
        self.0.refresh();
    }

    fn run(&mut self) {
        let SuperPacket { vnet, buffer, len, packets, .. } = &mut self.0;
        let mut count = 0;
        split(vnet, buffer, *len, |packet, len| {
            black_box(&packet[..len]);
            count += 1;
        });
        assert_eq!(count, *packets, "packets cut");
    }
}

/// With the copy into the buffer, which opening a datagram does otherwise.
struct Coalesce {
    segments: Vec<Vec<u8>>,
    joined: Packets,
}

impl Coalesce {
    fn new() -> Self {
        Self { segments: stream(SEGMENTS, 1420), joined: Packets::new(HostOffload::Tcp) }
    }
}

impl Work for Coalesce {
    fn run(&mut self) {
        for segment in &self.segments {
            deliver(segment, &mut self.joined);
        }
        assert_eq!(self.joined.iter().map(black_box).count(), 1, "all are joined");
        self.joined.clear();
    }
}

struct Checksum(Vec<u8>);

impl Work for Checksum {
    fn run(&mut self) {
        for _ in 0..MANY {
            black_box(checksum(&black_box(&self.0)[..1400]));
        }
    }
}

struct LookUp {
    table: AllowedIps<u32>,
    probes: Vec<IpAddr>,
}

impl LookUp {
    /// A table of /24s, and probes that hit them in no order that a cache could foresee.
    fn new(networks: u32) -> Self {
        let network = |number: u32| 0x0a00_0000 | number << 8;
        let mut table = AllowedIps::default();
        for number in 0..networks {
            let net = Ipv4Net::new(Ipv4Addr::from(network(number)), 24).expect("a length");
            table.insert(IpNet::V4(net), number);
        }
        let scattered = (0..).map(|n: u32| n.wrapping_mul(0x9e37_79b1) >> 8);
        let probe = |n| IpAddr::V4(Ipv4Addr::from(network(n % networks) + 1));
        Self { table, probes: scattered.take(MANY).map(probe).collect() }
    }
}

impl Work for LookUp {
    fn run(&mut self) {
        let found = self.probes.iter().filter_map(|probe| self.table.lookup(*black_box(probe)));
        assert_eq!(found.map(black_box).count(), MANY, "every probe has an owner");
    }
}
