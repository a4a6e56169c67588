//! What becomes of a datagram at the relay's port.

use core::net::SocketAddr;

use super::{AtPort, LaneEntry, Words};
use crate::{Address, DropReason, LaneId, Nanos};

/// What a switch goes by.
pub trait LaneTable {
    /// A lane in it.
    type Entry: LaneEntry;

    /// The lane with this number.
    fn find(&self, id: LaneId) -> Option<Self::Entry>;

    /// A monotonic clock, no coarser than [`COARSEST_CLOCK`](super::COARSEST_CLOCK).
    fn now(&self) -> Nanos;
}

/// What a switch of whole frames goes by besides: a socket's kernel knows these.
pub trait RelayTable: LaneTable {
    /// The port of lanes and STUN, on every address of the relay.
    fn port(&self) -> u16;

    /// Whether this address is the relay's own: nobody else's datagrams are dropped or answered.
    fn is_local(&self, address: &Address) -> bool;

    /// Takes one answer to a STUN request from what the network of this address may have.
    fn take_answer(&self, asker: &Address) -> bool;
}

/// A UDP datagram, as far as a judge needs it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Its first bytes, as they are.
    pub(crate) first: Option<u64>,
    pub(crate) length: u32,
    /// What the lane's rate is charged: more than its length where it stands for several.
    pub(crate) cost: u32,
    pub(crate) source: Words,
    pub(crate) local: Words,
    /// Source and destination, as on the wire.
    pub(crate) ports: [u8; 4],
    pub(crate) hops: u8,
}

impl Datagram {
    /// A datagram that a socket has received from `source` at the relay's address `local`.
    #[must_use]
    pub fn new(payload: &[u8], source: SocketAddr, local: SocketAddr) -> Self {
        let [from, to] = [source, local].map(|end| Words::from(Address::from(end.ip())));
        let [[a, b], [c, d]] = [source, local].map(|end| end.port().to_be_bytes());
        Self {
            first: payload.first_chunk().map(|first| u64::from_ne_bytes(*first)),
            length: length(payload),
            cost: length(payload),
            source: from,
            local: to,
            ports: [a, b, c, d],
            // The host has not said, and would not have taken one that is worn out.
            hops: u8::MAX,
        }
    }

    /// The same, for all of these bytes: datagrams no longer than it, with the same header, of which
    /// it is the first. They are judged as one.
    #[must_use]
    pub fn of_run(self, run: &[u8]) -> Self {
        Self { cost: length(run), ..self }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<E> {
    /// Give it to the other end of this lane.
    Forward(E),
    /// It is this lane's, and for user space to send on: the other end is not bound, and its node
    /// has a connection at best; or the way there has no room for it in one piece.
    Up(E),
    /// It is for the relay itself: a lane is to be bound or kept.
    Control,
    /// A STUN message: see [`stun`](crate::stun).
    Stun,
    /// Drop it, and count it for this lane if it was one's.
    Drop(DropReason, Option<LaneId>),
}

/// Judges a datagram.
///
/// The rate comes last: what is dropped for another reason costs the lane nothing.
#[inline(always)]
pub fn judge<T: LaneTable>(datagram: &Datagram, table: &T) -> Judged<T::Entry> {
    let id = match AtPort::parse(datagram.first, datagram.length) {
        Ok(AtPort::Data(id)) => id,
        Ok(AtPort::Control) => return Judged::Control,
        Ok(AtPort::Stun) => return Judged::Stun,
        Err(reason) => return Judged::Drop(reason, None),
    };
    let Some(entry) = table.find(id) else {
        return Judged::Drop(DropReason::LaneUnknown, None);
    };
    let lane = entry.lane();
    let drop = |reason| Judged::Drop(reason, Some(id));
    let ports = u32::from_ne_bytes(lane.ports) ^ u32::from_ne_bytes(datagram.ports);
    let ends = lane.from.differs(datagram.source) | lane.local.differs(datagram.local);
    if ends | u64::from(ports) != 0 {
        // An empty place of the kernel's table has no number, and no address either.
        return match LaneId::from_number(id.0) {
            Some(_) => drop(DropReason::LaneSource),
            None => Judged::Drop(DropReason::LaneUnknown, None),
        };
    }
    if datagram.hops <= 1 {
        return drop(DropReason::LaneTtl);
    }
    if !lane.rate.is_unlimited() {
        match lane.rate.take(entry.spent(), datagram.cost, table.now()) {
            Some(until) => entry.spend(until),
            None => return drop(DropReason::LaneRate),
        }
    }
    // An end that is not bound has no room.
    if datagram.length > u32::from(lane.room) {
        return Judged::Up(entry);
    }
    Judged::Forward(entry)
}
