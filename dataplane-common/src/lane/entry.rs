//! What the table of lanes says of an end: how what it sends goes on.

use super::{ClientPlace, Egress, LaneEnd, LaneId, Sum, V4Pair, Words};

/// What the table says of the end with one [`LaneId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    hot: HotLane,
    addresses: LaneAddresses,
}

/// All that it takes to switch from IPv4 to IPv4. Plain data without padding: the kernel's map holds it
/// as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct HotLane {
    /// Its own number; zero while the element is no lane's, or is being written.
    pub id: LaneId,
    /// The number of the other end, as on the wire; zero while that one is not bound.
    pub(crate) onward_id: [u8; 4],
    /// Where it sends from, and to; none if that is IPv6.
    pub(crate) pair: V4Pair,
    /// The same of what leaves.
    pub(crate) onward_pair: V4Pair,
    /// The ports of both ends, as on the wire.
    pub(crate) from_port: [u8; 2],
    pub(crate) to_port: [u8; 2],
    /// What changes in the sum of an IPv4 header that stays one: the addresses, and a hop less.
    pub(crate) ip_delta: u16,
    /// What changes in the sum of all that a UDP checksum covers.
    pub(crate) udp_delta: u16,
    /// The longest UDP payload for which there is room on the way on; none while it is not bound.
    pub(crate) room: u16,
    spare: [u8; 2],
    /// Who pays for what it sends.
    pub(crate) client: ClientPlace,
    pub(crate) egress: u32,
    /// Destination and source, where the egress is not the way back.
    pub(crate) macs: [[u8; 6]; 2],
}

/// The addresses in full, for IPv6. Plain data as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LaneAddresses {
    pub(crate) from: Words,
    pub(crate) local: Words,
    pub(crate) to: Words,
    pub(crate) via: Words,
}

impl Lane {
    /// An end whose other end is not bound: nothing that it sends goes on.
    #[must_use]
    pub const fn unbound(id: LaneId, end: LaneEnd) -> Self {
        let addresses =
            LaneAddresses { from: end.remote, local: end.relay, to: Words::NONE, via: Words::NONE };
        let hot = HotLane {
            id,
            onward_id: [0; 4],
            pair: V4Pair::of(end.remote, end.relay),
            onward_pair: V4Pair::NONE,
            from_port: end.port,
            to_port: [0; 2],
            ip_delta: 0,
            udp_delta: 0,
            room: 0,
            spare: [0; 2],
            client: ClientPlace(0),
            egress: 0,
            macs: [[0; 6]; 2],
        };
        Self { hot, addresses }
    }

    /// The same end, bound to the other one, with room for whatever IP can carry.
    #[must_use]
    pub fn bound_to(mut self, id: LaneId, end: LaneEnd) -> Self {
        const ONE_HOP: Sum = Sum::new().half([1, 0]);
        let Self { hot, addresses } = &mut self;
        (addresses.to, addresses.via) = (end.remote, end.relay);
        hot.onward_id = id.0.to_be_bytes();
        hot.onward_pair = V4Pair::of(end.relay, end.remote);
        hot.to_port = end.port;
        let sum = |one: Words, other: Words| one.sum().plus(other.sum());
        let changed = sum(end.remote, end.relay).minus(sum(addresses.from, addresses.local));
        let rest = |id, port| Sum::new().word(id).half(port);
        let rest =
            rest(hot.onward_id, hot.to_port).minus(rest(hot.id.0.to_be_bytes(), hot.from_port));
        hot.ip_delta = changed.minus(ONE_HOP).fold();
        hot.udp_delta = changed.plus(rest).fold();
        self.with_mtu(u16::MAX)
    }

    /// The same end, whose packets leave so.
    #[must_use]
    pub const fn leaving_by(mut self, egress: Egress) -> Self {
        (self.hot.egress, self.hot.macs) = match egress {
            Egress::Back => (0, [[0; 6]; 2]),
            Egress::Neighbour { interface, source, destination } => {
                (interface, [destination, source])
            }
        };
        self
    }

    /// The same bound end, whose packets may be so large, from the IP header on, on the way on.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: u16) -> Self {
        const UDP: u16 = 8;
        let headers = if self.hot.is_to_v6() { 40 + UDP } else { 20 + UDP };
        self.hot.room = if self.onward().is_none() { 0 } else { mtu.saturating_sub(headers) };
        self
    }

    /// The same end, as this client's.
    #[must_use]
    pub const fn of_client(mut self, client: ClientPlace) -> Self {
        self.hot.client = client;
        self
    }

    /// What nearly all its packets need.
    #[must_use]
    pub const fn hot(&self) -> &HotLane {
        &self.hot
    }

    /// The addresses in full.
    #[must_use]
    pub const fn addresses(&self) -> &LaneAddresses {
        &self.addresses
    }

    /// Its own number.
    #[must_use]
    pub const fn id(&self) -> LaneId {
        self.hot.id
    }

    /// The number of the other end, if it is bound.
    #[must_use]
    pub const fn onward(&self) -> Option<LaneId> {
        LaneId::from_number(u32::from_be_bytes(self.hot.onward_id))
    }

    /// What the kernel's tables hold of it.
    #[must_use]
    pub const fn to_tables(self) -> (LaneSlot, LaneAddresses) {
        (LaneSlot { hot: self.hot, spare: 0 }, self.addresses)
    }
}

impl HotLane {
    /// Whether what it sends goes on by IPv6, if it goes on.
    #[inline(always)]
    pub(crate) const fn is_to_v6(&self) -> bool {
        self.onward_pair.is_none()
    }
}

/// What the kernel's table has of a lane that nearly all its packets need: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct LaneSlot {
    /// What the table says.
    pub hot: HotLane,
    spare: u64,
}

const _: () = assert!(size_of::<LaneSlot>() == 64 && size_of::<HotLane>() == 56);
const _: () = assert!(size_of::<LaneAddresses>() == 64);

impl LaneSlot {
    /// The same, as no lane's: what the kernel must see while it is changed.
    #[must_use]
    pub const fn nobodys(mut self) -> Self {
        self.hot.id = LaneId(0);
        self
    }
}

/// A lane in a table.
pub trait LaneEntry {
    /// What the table says.
    fn hot(&self) -> &HotLane;

    /// The addresses in full.
    fn addresses(&self) -> Option<&LaneAddresses>;

    /// Whether the entry still is the lane's for which it was looked up. In a table that only its
    /// owner changes, it is.
    fn is_still(&self) -> bool;
}

impl LaneEntry for &Lane {
    fn hot(&self) -> &HotLane {
        &self.hot
    }

    fn addresses(&self) -> Option<&LaneAddresses> {
        Some(&self.addresses)
    }

    fn is_still(&self) -> bool {
        true
    }
}
