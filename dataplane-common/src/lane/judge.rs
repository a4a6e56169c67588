//! What becomes of a datagram at the relay's port.

use core::net::SocketAddr;

use super::{LaneEntry, LaneMessage, Words};
use crate::{Address, DropReason, LaneId, Nanos};

/// What a switch goes by.
pub trait LaneTable {
    /// A lane in it.
    type Entry: LaneEntry;

    /// The port of lanes and STUN, on every address of the relay.
    fn port(&self) -> u16;

    /// The lane with this number.
    fn find(&self, id: LaneId) -> Option<Self::Entry>;

    /// Whether this address is the relay's own: nobody else's datagrams are dropped or answered.
    fn is_local(&self, address: &Address) -> bool;

    /// A monotonic clock, no coarser than [`COARSEST_CLOCK`](super::COARSEST_CLOCK).
    fn now(&self) -> Nanos;

    /// Takes one answer to a STUN request from what the network of this address may have.
    fn take_answer(&self, asker: &Address) -> bool;
}

/// A UDP datagram, as far as a judge needs it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub(crate) first: Option<[u8; 8]>,
    pub(crate) length: u32,
    pub(crate) source: Words,
    pub(crate) local: Words,
    pub(crate) source_port: u16,
    pub(crate) local_port: u16,
    pub(crate) hops: u8,
}

impl Datagram {
    /// A datagram that a socket has received from `source` at the relay's address `local`.
    #[must_use]
    pub fn new(payload: &[u8], source: SocketAddr, local: SocketAddr) -> Self {
        let [from, to] = [source, local].map(|end| Words::from(Address::from(end.ip())));
        Self {
            first: payload.first_chunk().copied(),
            length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            source: from,
            local: to,
            source_port: source.port(),
            local_port: local.port(),
            // The host has not said, and would not have taken one that is worn out.
            hops: u8::MAX,
        }
    }
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<E> {
    /// Give it to the other end of this lane.
    Forward(E),
    /// It is for the relay itself: a lane is to be bound or kept.
    Control,
    /// A STUN message: see [`stun`](crate::stun).
    Stun,
    /// Drop it, and count it for this lane if it was one's.
    Drop(DropReason, Option<LaneId>),
}

const V4_HEADERS: u32 = 20 + 8;
const V6_HEADERS: u32 = 40 + 8;

/// Judges a datagram.
///
/// The rate comes last: what is dropped for another reason costs the lane nothing.
#[inline(always)]
pub fn judge<T: LaneTable>(datagram: &Datagram, table: &T) -> Judged<T::Entry> {
    let id = match LaneMessage::parse(datagram.first, datagram.length) {
        Ok(LaneMessage::Data(id)) => id,
        Ok(LaneMessage::Control) => return Judged::Control,
        Ok(LaneMessage::Stun) => return Judged::Stun,
        Err(reason) => return Judged::Drop(reason, None),
    };
    let Some(entry) = table.find(id) else {
        return Judged::Drop(DropReason::LaneUnknown, None);
    };
    let lane = entry.lane();
    let drop = |reason| Judged::Drop(reason, Some(id));
    let proven = (lane.from_port, lane.local_port) == (datagram.source_port, datagram.local_port)
        && lane.from == datagram.source
        && lane.local == datagram.local;
    if !proven {
        return drop(DropReason::LaneSource);
    }
    if lane.onward_id == 0 {
        return drop(DropReason::LaneUnbound);
    }
    let headers = if lane.to.is_v4() { V4_HEADERS } else { V6_HEADERS };
    if datagram.length + headers > u32::from(lane.mtu) {
        return drop(DropReason::LaneTooBig);
    }
    if datagram.hops <= 1 {
        return drop(DropReason::LaneTtl);
    }
    if !lane.rate.is_unlimited() {
        match lane.rate.take(entry.spent(), datagram.length, table.now()) {
            Some(until) => entry.spend(until),
            None => return drop(DropReason::LaneRate),
        }
    }
    Judged::Forward(entry)
}
