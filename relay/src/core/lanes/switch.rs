//! The table by which data of lanes is switched: the kernel's twin, for what comes to the socket.
//! It does not change by packets, but for what they use of their rates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use dataplane_common::{
    ClientBucket, ClientPlace, Datagram, DropReason, HotLane, Judged, Lane, LaneAddresses, LaneEnd,
    LaneId, LaneTable, Nanos, NetworkBucket, NetworkPlace, Rate, judge,
};

/// What the table knows of an end that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneEntry {
    /// The address that the end has proven.
    pub from: SocketAddr,
    /// The relay's address at which it did.
    pub local: Option<IpAddr>,
    /// The other end, if it is bound too.
    pub to: Option<Forward>,
    /// Whose end it is, who pays for what it sends.
    pub client: ClientPlace,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The other end's address.
    pub to: SocketAddr,
    /// The relay's address that the other end knows.
    pub via: Option<IpAddr>,
    /// The id to put into the header.
    pub lane: LaneId,
}

/// A change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchChange {
    /// A client may send so fast by its lanes, as one of this network.
    Client(ClientPlace, Rate, NetworkPlace),
    /// A network may send so fast by its clients' lanes.
    Network(NetworkPlace, Rate),
    /// An end is bound, or what is known of it has changed.
    Insert(LaneId, LaneEntry),
    /// An end is not bound any more.
    Remove(LaneId),
}

/// What to do with datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send them on.
    Forward(Forward),
    /// The other end of this lane has no address: its node's connection may take them.
    Up(LaneId),
    /// A question about a lane.
    Control,
    /// A message of STUN.
    Stun,
    /// Drop them.
    Drop(DropReason),
}

impl LaneEntry {
    /// The same, as kernel and user space judge by it. `None` if addresses of two families were proven
    /// to be one.
    #[must_use]
    pub fn to_lane(&self, id: LaneId) -> Option<Lane> {
        let end = LaneEnd::new(self.from, relay_address(self.from, self.local))?;
        let lane = Lane::unbound(id, end).of_client(self.client);
        let Some(Forward { to, via, lane: onward }) = self.to else { return Some(lane) };
        Some(lane.bound_to(onward, LaneEnd::new(to, relay_address(to, via))?))
    }
}

/// The relay's address that is spoken to from there.
fn relay_address(from: SocketAddr, local: Option<IpAddr>) -> IpAddr {
    let unknown: IpAddr =
        if from.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    local.unwrap_or(unknown)
}

/// The table of lanes, each at the place that its id tells.
pub struct Switch {
    start: Instant,
    places: Vec<Option<Bound>>,
    bound: usize,
    /// By their places; the first of each is nobody's.
    clients: Vec<ClientBucket>,
    networks: Vec<NetworkBucket>,
}

struct Bound {
    lane: Lane,
    to: Option<Forward>,
}

/// The bucket of a place, which may be new.
fn bucket<T: Clone + Default>(buckets: &mut Vec<T>, place: u32) -> &mut T {
    let place = place as usize;
    if place >= buckets.len() {
        buckets.resize(place + 1, T::default());
    }
    &mut buckets[place]
}

/// The table at one moment.
struct At<'a>(&'a Switch, Nanos);

impl Switch {
    /// A table without lanes.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let (places, clients, networks) = (Vec::new(), Vec::new(), Vec::new());
        Self { start: now, places, bound: 0, clients, networks }
    }

    /// Does what the relay says.
    pub fn change(&mut self, change: SwitchChange) {
        match change {
            SwitchChange::Insert(id, entry) => match entry.to_lane(id) {
                Some(lane) => self.insert(lane, entry.to),
                None => self.remove(id),
            },
            SwitchChange::Remove(id) => self.remove(id),
            SwitchChange::Client(ClientPlace(place), rate, network) => {
                bucket(&mut self.clients, place).allow(rate, network);
            }
            SwitchChange::Network(NetworkPlace(place), rate) => {
                bucket(&mut self.networks, place).allow(rate);
            }
        }
    }

    fn insert(&mut self, lane: Lane, to: Option<Forward>) {
        let place = lane.id().place() as usize;
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        let at = &mut self.places[place];
        self.bound += usize::from(at.is_none());
        *at = Some(Bound { lane, to });
    }

    fn remove(&mut self, id: LaneId) {
        if self.find(id).is_some() {
            self.places[id.place() as usize] = None;
            self.bound -= 1;
        }
    }

    fn find(&self, id: LaneId) -> Option<&Bound> {
        let bound = self.places.get(id.place() as usize)?.as_ref()?;
        (bound.lane.id() == id).then_some(bound)
    }

    /// Judges datagrams with one header, of one length but for the last, from this address to that
    /// one of ours: all of them together.
    #[must_use]
    pub fn judge(
        &self,
        run: &[u8],
        stride: usize,
        from: SocketAddr,
        local: Option<IpAddr>,
        now: Instant,
    ) -> Verdict {
        let first = &run[..stride.min(run.len())];
        let local = relay_address(from, local);
        let datagram = Datagram::new(first, from, local).of_run(run);
        match judge(&datagram, &At(self, self.nanos(now))) {
            Judged::Forward(bound) | Judged::Up(bound) => {
                bound.to.map_or(Verdict::Up(bound.lane.id()), Verdict::Forward)
            }
            Judged::Control => Verdict::Control,
            Judged::Stun => Verdict::Stun,
            Judged::Drop(reason, _) => Verdict::Drop(reason),
        }
    }

    /// As if the clock had begun earlier, so that the longest burst does not reach below zero.
    fn nanos(&self, now: Instant) -> Nanos {
        const EARLIER: u64 = 10_000_000_000;
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        Nanos(u64::try_from(nanos).map_or(u64::MAX, |nanos| nanos.saturating_add(EARLIER)))
    }

    /// How many ends are bound.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bound
    }

    /// Whether no end is bound.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bound == 0
    }
}

impl<'a> LaneTable for At<'a> {
    type Entry = &'a Bound;

    fn find(&self, id: LaneId) -> Option<&'a Bound> {
        self.0.find(id)
    }

    fn client(&self, ClientPlace(place): ClientPlace) -> Option<&ClientBucket> {
        self.0.clients.get(place as usize)
    }

    fn network(&self, NetworkPlace(place): NetworkPlace) -> Option<&NetworkBucket> {
        self.0.networks.get(place as usize).filter(|_| place != 0)
    }

    fn now(&self) -> Nanos {
        self.1
    }
}

impl dataplane_common::LaneEntry for &Bound {
    fn hot(&self) -> &HotLane {
        self.lane.hot()
    }

    fn addresses(&self) -> Option<&LaneAddresses> {
        Some(self.lane.addresses())
    }

    fn is_still(&self) -> bool {
        true
    }
}
