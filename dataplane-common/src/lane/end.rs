//! One end of a lane: its number, where it is, and the way to it.

use core::net::{IpAddr, SocketAddr};

use super::Words;
use crate::Address;

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
    pub(super) remote: Words,
    pub(super) port: [u8; 2],
    pub(super) relay: Words,
}

impl LaneEnd {
    /// The end at `remote`, which talks to this address of the relay, whose port is the same for all
    /// ends. `None` if the two are not of one family.
    #[must_use]
    pub fn new(remote: SocketAddr, relay: IpAddr) -> Option<Self> {
        let port = remote.port().to_be_bytes();
        let [remote, relay] = [remote.ip(), relay].map(|ip| Words::from(Address::from(ip)));
        (remote.is_v4() == relay.is_v4()).then_some(Self { remote, port, relay })
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
