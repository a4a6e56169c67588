//! What becomes of a datagram at the relay's port.

use core::net::{IpAddr, SocketAddr};

use super::{
    AtPort, ClientBucket, ClientPlace, LaneAddresses, LaneEntry, NetworkBucket, NetworkPlace,
    V4Pair, Words, bucket::pay,
};
use crate::{Address, DropReason, LaneId, Nanos};

/// What a switch goes by.
pub trait LaneTable {
    /// A lane in it.
    type Entry: LaneEntry;

    /// The lane with this number.
    fn find(&self, id: LaneId) -> Option<Self::Entry>;

    /// The client with this place, if anybody has it.
    fn client(&self, place: ClientPlace) -> Option<&ClientBucket>;

    /// The network with this place, if it is one.
    fn network(&self, place: NetworkPlace) -> Option<&NetworkBucket>;

    /// A monotonic clock, no coarser than [`COARSEST_CLOCK`](super::COARSEST_CLOCK).
    fn now(&self) -> Nanos;
}

/// What a switch of whole frames goes by besides: a socket's kernel knows these.
pub trait RelayTable: LaneTable {
    /// The port of lanes and STUN, on every address of the relay.
    fn port(&self) -> u16;

    /// Whether this address is the relay's own: nobody else's datagrams are dropped or answered.
    fn is_local(&self, address: &Address) -> bool;

    /// Takes one answer to a STUN request from what the network of this address may have; `None` if
    /// they are not given here.
    fn take_answer(&self, asker: &Address) -> Option<bool>;
}

/// A UDP datagram, as far as a judge needs it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Its first bytes, as they are.
    pub(crate) first: Option<u64>,
    pub(crate) length: u32,
    /// What the lane's client is charged: more than its length where it stands for several.
    pub(crate) cost: u32,
    pub(crate) v6: bool,
    /// The addresses of IPv4.
    pub(crate) pair: V4Pair,
    /// Those of IPv6.
    pub(crate) source: Words,
    pub(crate) local: Words,
    /// The source's, as on the wire.
    pub(crate) port: [u8; 2],
    pub(crate) hops: u8,
}

impl Datagram {
    /// A datagram that a socket has received from `source` at the relay's address `local`.
    #[must_use]
    pub fn new(payload: &[u8], source: SocketAddr, local: IpAddr) -> Self {
        let [from, to] = [source.ip(), local].map(|ip| Words::from(Address::from(ip)));
        Self {
            first: payload.first_chunk().map(|first| u64::from_ne_bytes(*first)),
            length: length(payload),
            cost: length(payload),
            v6: !from.is_v4() || !to.is_v4(),
            pair: V4Pair::of(from, to),
            source: from,
            local: to,
            port: source.port().to_be_bytes(),
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
/// Rates come last: what is dropped for another reason costs nobody anything.
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
    let lane = entry.hot();
    let drop = |reason| Judged::Drop(reason, Some(id));
    let port = u16::from_ne_bytes(lane.from_port) ^ u16::from_ne_bytes(datagram.port);
    // A lane of IPv6 has no pair, which an IPv4 header of zeros would be taken for.
    let (ends, is_none) = if datagram.v6 {
        match entry.addresses() {
            Some(LaneAddresses { from, local, .. }) => {
                (from.differs(datagram.source) | local.differs(datagram.local), false)
            }
            None => (0, true),
        }
    } else {
        (lane.pair.differs(datagram.pair), lane.pair.is_none())
    };
    if ends | u64::from(port) != 0 || is_none {
        // An empty place of the kernel's table has no number, and no address either.
        return match LaneId::from_number(id.0) {
            Some(_) => drop(DropReason::LaneSource),
            None => Judged::Drop(DropReason::LaneUnknown, None),
        };
    }
    if datagram.hops <= 1 {
        return drop(DropReason::LaneTtl);
    }
    if let Err(reason) = pay(table, lane.client, datagram.cost) {
        return drop(reason);
    }
    // An end that is not bound has no room.
    if datagram.length > u32::from(lane.room) {
        return Judged::Up(entry);
    }
    Judged::Forward(entry)
}
