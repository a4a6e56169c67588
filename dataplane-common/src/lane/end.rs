//! One end of a lane: where it is, and how what it sends goes on.

use core::{cell::Cell, net::SocketAddr};

use super::{Rate, Sum, Words};
use crate::{Address, Nanos};

/// The number of one end of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct LaneId(pub u32);

/// How many ends of lanes one relay can have: twice as many as lanes.
pub const MAX_LANE_ENDS: u32 = 1 << PLACE_BITS;

const PLACE_BITS: u32 = 20;

impl LaneId {
    /// The number of the lane with this place in the relay's tables. The random bits tell it from
    /// the lanes that had the place before: a late packet of theirs is nobody's.
    #[must_use]
    pub const fn new(place: u32, random: u32) -> Self {
        const NUMBERS: u32 = u32::MAX >> PLACE_BITS;
        // Never zero, which is no lane.
        Self(((random % NUMBERS + 1) << PLACE_BITS) | (place % MAX_LANE_ENDS))
    }

    /// The id of this number; zero is none's.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => None,
            number => Some(Self(number)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Where the lane is in the relay's tables.
    #[inline(always)]
    #[must_use]
    pub const fn place(self) -> u32 {
        self.0 % MAX_LANE_ENDS
    }
}

/// An end's two addresses, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneEnd {
    remote: (Words, u16),
    relay: (Words, u16),
}

impl LaneEnd {
    /// The end at `remote`, which talks to this address of the relay. `None` if the two are not of
    /// one family.
    #[must_use]
    pub fn new(remote: SocketAddr, relay: SocketAddr) -> Option<Self> {
        let [remote, relay] =
            [remote, relay].map(|end| (Words::from(Address::from(end.ip())), end.port()));
        (remote.0.is_v4() == relay.0.is_v4()).then_some(Self { remote, relay })
    }
}

/// By which interface a packet leaves the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// The one by which it came, to the router it came from.
    Back,
    /// This one, to this neighbour.
    Neighbour {
        /// The interface's index.
        interface: u32,
        /// The interface's own hardware address.
        source: [u8; 6],
        /// The neighbour's.
        destination: [u8; 6],
    },
}

/// What the table says of the end with one [`LaneId`]. Plain data without padding: the kernel's map
/// holds it as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Lane {
    /// Its own number; zero while the element is no lane's, or is being written.
    pub id: LaneId,
    /// The number of the other end; zero while that one is not bound.
    pub(crate) onward_id: u32,
    pub(crate) from: Words,
    pub(crate) local: Words,
    pub(crate) to: Words,
    pub(crate) via: Words,
    /// The ports of `from` and `local`, as on the wire.
    pub(crate) ports: [u8; 4],
    /// The ports of `via` and `to`, as on the wire.
    pub(crate) onward_ports: [u8; 4],
    /// What changes in the sum of an IPv4 header that stays one: the addresses, and a hop less.
    pub(crate) ip_delta: u16,
    /// What changes in the sum of all that a UDP checksum covers.
    pub(crate) udp_delta: u16,
    /// The longest UDP payload for which there is room on the way on; none while it is not bound.
    pub(crate) room: u16,
    /// One if the other end has IPv6.
    pub(crate) to_v6: u16,
    /// The largest IP packet for which there is room on the way on.
    mtu: u16,
    zero: u16,
    pub(crate) egress: u32,
    /// Destination and source, where the egress is not the way back.
    pub(crate) macs: [[u8; 6]; 2],
    /// Which binding of the lane this is: its owner's to count.
    pub generation: u32,
    pub(crate) rate: Rate,
}

const _: () = assert!(size_of::<Lane>() == 2 * 4 + 4 * 16 + 2 * 4 + 6 * 2 + 4 + 12 + 4 + 8);

impl Lane {
    /// An end whose other end is not bound: nothing that it sends goes on.
    #[must_use]
    pub fn unbound(id: LaneId, end: LaneEnd) -> Self {
        Self {
            id,
            onward_id: 0,
            from: end.remote.0,
            local: end.relay.0,
            to: Words::NONE,
            via: Words::NONE,
            ports: ports(end.remote, end.relay),
            onward_ports: [0; 4],
            ip_delta: 0,
            udp_delta: 0,
            room: 0,
            to_v6: 0,
            mtu: u16::MAX,
            zero: 0,
            egress: 0,
            macs: [[0; 6]; 2],
            generation: 0,
            rate: Rate::UNLIMITED,
        }
    }

    /// The same end, bound to the other one.
    #[must_use]
    pub fn bound_to(mut self, id: LaneId, end: LaneEnd) -> Self {
        const ONE_HOP: Sum = Sum::new().half([1, 0]);
        self.onward_id = id.0;
        (self.to, self.via) = (end.remote.0, end.relay.0);
        self.onward_ports = ports(end.relay, end.remote);
        self.to_v6 = u16::from(!self.to.is_v4());
        let addresses =
            self.to.sum().plus(self.via.sum()).minus(self.from.sum()).minus(self.local.sum());
        let rest = |id: LaneId, ports| Sum::new().word(id.0.to_be_bytes()).word(ports);
        let rest = rest(id, self.onward_ports).minus(rest(self.id, self.ports));
        self.ip_delta = addresses.minus(ONE_HOP).fold();
        self.udp_delta = addresses.plus(rest).fold();
        self.with_mtu(self.mtu)
    }

    /// The same end, whose packets leave so.
    #[must_use]
    pub const fn leaving_by(mut self, egress: Egress) -> Self {
        (self.egress, self.macs) = match egress {
            Egress::Back => (0, [[0; 6]; 2]),
            Egress::Neighbour { interface, source, destination } => {
                (interface, [destination, source])
            }
        };
        self
    }

    /// The same end, whose packets may be so large, from the IP header on, on the way on.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: u16) -> Self {
        const UDP: u16 = 8;
        let headers = if self.to_v6 == 1 { 40 + UDP } else { 20 + UDP };
        self.mtu = mtu;
        self.room = if self.onward_id == 0 { 0 } else { mtu.saturating_sub(headers) };
        self
    }

    /// The same end, which may send so fast.
    #[must_use]
    pub const fn with_rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// The number of the other end, if it is bound.
    #[must_use]
    pub const fn onward(&self) -> Option<LaneId> {
        match self.onward_id {
            0 => None,
            id => Some(LaneId(id)),
        }
    }

    /// The same, as no lane's: what the kernel must see while it is changed.
    #[must_use]
    pub const fn nobodys(mut self) -> Self {
        self.id = LaneId(0);
        self
    }
}

fn ports(one: (Words, u16), other: (Words, u16)) -> [u8; 4] {
    let ([a, b], [c, d]) = (one.1.to_be_bytes(), other.1.to_be_bytes());
    [a, b, c, d]
}

/// A lane with what it has used of its rate: what the kernel's table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LaneSlot {
    /// What the table says.
    pub lane: Lane,
    /// See `take`.
    pub spent: Nanos,
}

const _: () = assert!(size_of::<LaneSlot>() == size_of::<Lane>() + 8);

/// A lane in a table that belongs to one thread.
#[derive(Clone, Debug)]
pub struct LaneCell {
    /// What the table says.
    pub lane: Lane,
    spent: Cell<Nanos>,
}

impl LaneCell {
    /// A lane that has not sent yet.
    #[must_use]
    pub const fn new(lane: Lane) -> Self {
        Self { lane, spent: Cell::new(Nanos(0)) }
    }
}

/// A lane in a table.
pub trait LaneEntry {
    /// What the table says.
    fn lane(&self) -> &Lane;

    /// What the lane has used of its rate.
    fn spent(&self) -> Nanos;

    /// Writes what it has used.
    fn spend(&self, until: Nanos);

    /// Whether the entry still is the lane's for which it was looked up. In a table that only its
    /// owner changes, it is.
    fn is_still(&self) -> bool;
}

impl LaneEntry for &LaneCell {
    fn lane(&self) -> &Lane {
        &self.lane
    }

    fn spent(&self) -> Nanos {
        self.spent.get()
    }

    fn spend(&self, until: Nanos) {
        self.spent.set(until);
    }

    fn is_still(&self) -> bool {
        true
    }
}
