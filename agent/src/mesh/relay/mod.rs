//! Packets by relays, for peers that cannot be reached directly.
//!
//! One task holds a connection to a relay of the home region, and to those of other regions where
//! peers are at home that packets go to. The engine knows nothing of it: see [`port`].

mod by_peers;
mod client;
mod connect;
mod lanes;
mod numbers;
mod plan;
mod port;
mod sending;
mod trust;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::key::PublicKey;
use proto::probe::is_probe;
use proto::relay::Batch;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use relay_client::ConnectionId;
use socket2::SockRef;
use tokio::sync::{mpsc, watch};

use crate::io::udp::Received;
use by_peers::ByPeers;
use client::{Client, ClientId};
use connect::{Incoming, marked};
use lanes::{Heard, Lanes, Run};
use numbers::Numbers;
use plan::Standing;
pub(crate) use plan::{Place, Plan, RelayHome, RelayPeer, Way};
pub(crate) use port::PeerNumber;
use port::RelayPort;
use sending::{Sent, send};

/// A foreign region that nothing was sent to for so long is left.
const UNUSED: Duration = Duration::from_secs(300);
/// The longest sleep.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is said that a peer has relayed packets, and how many peers may wait to be named.
const SAID: Duration = Duration::from_secs(1);
const NAMED: usize = 256;
/// For so many peers, so many bytes each, so long, packets wait for a connection.
const WAITING_PEERS: usize = 256;
const WAITING_BYTES: usize = 128 << 10;
const WAITING: Duration = Duration::from_secs(3);

/// A connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LineId {
    client: ClientId,
    connection: ConnectionId,
}

/// The end that the node holds; the task ends with it.
pub(crate) struct Relays {
    plans: watch::Sender<Plan>,
    standing: watch::Receiver<Standing>,
    ways: watch::Receiver<Ways>,
    busy: mpsc::Receiver<PeerNumber>,
    open_ways: watch::Receiver<BTreeSet<PeerNumber>>,
    port: u16,
}

/// What the task has to say by itself.
pub(crate) enum RelayNews {
    /// A peer has relayed packets: where the engine sends them.
    Busy(SocketAddr),
    /// These ways by peers that relay are open, and no others.
    Open(BTreeSet<PeerNumber>),
}

/// By what packets to each peer left the last time: a lane, QUIC or TLS.
type Ways = HashMap<PeerNumber, &'static str>;

impl Relays {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let port = RelayPort::open().context("cannot open a socket for relayed packets")?;
        let number = port.number()?;
        let endpoint = quic_endpoint().context("cannot open a socket for QUIC")?;
        let lanes = Lanes::open_socket().context("cannot open a socket for lanes")?;
        let (plans, plan) = watch::channel(Plan::default());
        let (say_standing, standing) = watch::channel(Standing::default());
        let (say_ways, ways) = watch::channel(Ways::default());
        let (incoming, inbox) = mpsc::channel(1024);
        let (say_busy, busy) = mpsc::channel(NAMED);
        let (say_open_ways, open_ways) = watch::channel(BTreeSet::new());
        let task = Task {
            port,
            endpoint,
            lanes,
            plan: Plan::default(),
            numbers: Numbers::default(),
            clients: HashMap::new(),
            incoming,
            standing: say_standing,
            ways: say_ways,
            busy: Busy { to: say_busy, said: HashMap::new() },
            by_peers: ByPeers::default(),
            open_ways: say_open_ways,
            waiting: HashMap::new(),
        };
        tokio::spawn(task.run(plan, inbox));
        Ok(Self { plans, standing, ways, busy, open_ways, port: number })
    }

    /// Where the engine sends packets for a peer.
    pub(crate) fn address(&self, peer: PeerNumber) -> SocketAddr {
        (peer.address(), self.port).into()
    }

    pub(crate) fn set(&self, plan: Plan) {
        self.plans.send_replace(plan);
    }

    pub(crate) fn home(&self) -> Option<RelayHome> {
        self.standing.borrow().home.clone()
    }

    /// Why no relay of the home region serves the node, if none does.
    pub(crate) fn trouble(&self) -> Option<String> {
        let standing = self.standing.borrow();
        let trouble = standing.trouble.as_ref()?;
        Some(format!("no relay of the home region serves this node: {trouble}"))
    }

    /// Waits for news.
    pub(crate) async fn news(&mut self) -> Option<RelayNews> {
        tokio::select! {
            peer = self.busy.recv() => peer.map(|peer| RelayNews::Busy(self.address(peer))),
            changed = self.open_ways.changed() => {
                changed.ok()?;
                Some(RelayNews::Open(self.open_ways.borrow_and_update().clone()))
            }
        }
    }

    /// By what packets to a peer left the last time: `lane`, `QUIC` or `TLS`.
    pub(crate) fn way(&self, peer: PeerNumber) -> Option<&'static str> {
        self.ways.borrow().get(&peer).copied()
    }
}

struct Task {
    port: RelayPort,
    endpoint: quinn::Endpoint,
    lanes: Lanes,
    plan: Plan,
    numbers: Numbers,
    clients: HashMap<ClientId, Client>,
    incoming: mpsc::Sender<Incoming>,
    standing: watch::Sender<Standing>,
    ways: watch::Sender<Ways>,
    busy: Busy,
    by_peers: ByPeers,
    open_ways: watch::Sender<BTreeSet<PeerNumber>>,
    /// Packets that wait for a connection to another region.
    waiting: HashMap<PeerNumber, (Instant, Vec<Kept>)>,
}

/// Datagrams, and the length of each.
type Kept = (Vec<u8>, usize);

fn quic_endpoint() -> std::io::Result<quinn::Endpoint> {
    let any = |v6: bool| if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let bind = |v6| std::net::UdpSocket::bind(any(v6));
    let socket = bind(true).or_else(|_| bind(false))?;
    marked(SockRef::from(&socket));
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
}

impl Task {
    async fn run(mut self, mut plans: watch::Receiver<Plan>, mut inbox: mpsc::Receiver<Incoming>) {
        let mut received = Received::new();
        loop {
            let mut ended = false;
            for client in self.clients.values_mut() {
                ended |= client.act(&self.endpoint, &self.incoming);
            }
            if ended {
                self.end_lanes();
            }
            self.stand_by();
            self.look_for_peer_relays();
            self.keep_lanes();
            self.send_waiting();
            self.say_open_ways();
            self.say_standing();
            let due = self.clients.values().filter_map(Client::poll_timeout);
            let due =
                due.chain(self.lanes.poll_timeout()).chain(self.by_peers.poll_timeout()).min();
            let due = due.unwrap_or_else(|| Instant::now() + LOOK);
            let engine = self.plan.engine;
            tokio::select! {
                changed = plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let plan = plans.borrow_and_update().clone();
                    self.adopt(plan);
                }
                Some(incoming) = inbox.recv() => self.take(incoming),
                taken = self.port.receive(engine) => match taken {
                    Ok((peer, packets)) => {
                        if let Some(batch) = packets.batch() {
                            let (clients, lanes) = (&mut self.clients, &mut self.lanes);
                            match send(&self.plan, clients, lanes, peer, batch) {
                                Sent::By(way) => {
                                    let peer = self.plan.ways.get(&peer).map_or(peer, |way| way.to);
                                    let calls_only = self.plan.calls_only(peer);
                                    if self.busy.note(peer, &batch) || calls_only {
                                        self.by_peers.note(peer, &self.plan);
                                    }
                                    say_way(&self.ways, peer, way);
                                }
                                Sent::ByPeer => {}
                                Sent::Missing(client) => {
                                    self.busy.note(peer, &batch);
                                    let kept = (batch.bytes().to_vec(), batch.segment());
                                    self.visit(client);
                                    self.wait(peer, kept);
                                }
                                Sent::Nowhere => {
                                    self.busy.note(peer, &batch);
                                }
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "relayed packets are not received"),
                },
                came = self.lanes.receive(&mut received) => match came {
                    Ok(()) => self.hear_lanes(&received),
                    Err(error) => tracing::debug!(%error, "packets of lanes are not received"),
                },
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    fn wait(&mut self, peer: PeerNumber, kept: Kept) {
        if self.waiting.len() < WAITING_PEERS || self.waiting.contains_key(&peer) {
            let new = || (Instant::now(), Vec::new());
            let (_, sends) = self.waiting.entry(peer).or_insert_with(new);
            // With what it takes to keep it.
            let taken: usize = sends.iter().map(|(bytes, _)| bytes.len() + size_of::<Kept>()).sum();
            if taken < WAITING_BYTES {
                sends.push(kept);
            }
        }
    }

    /// Sends what waited for a connection that is there by now.
    fn send_waiting(&mut self) {
        let Self { plan, clients, lanes, waiting, .. } = self;
        waiting.retain(|peer, (since, sends)| {
            let mut missing = false;
            for (bytes, segment) in &*sends {
                let Some(batch) = Batch::new(bytes, *segment) else { continue };
                missing |= matches!(send(plan, clients, lanes, *peer, batch), Sent::Missing(_));
                if missing {
                    break;
                }
            }
            missing && since.elapsed() < WAITING
        });
    }

    fn adopt(&mut self, plan: Plan) {
        self.numbers = Numbers::of(&plan);
        self.clients.retain(|(id, key), client| {
            let ticket = plan.tickets.iter().find(|(of, _)| of == key);
            let stale = plan.identity.as_ref().is_some_and(|identity| client.is_stale(identity));
            let kept = !stale && plan.relays(*id).is_some_and(|relays| client.is_of(relays));
            if let (Some((_, ticket)), Some(identity), true) = (ticket, &plan.identity, kept) {
                client.renew(*ticket, identity);
            }
            let is_foreign = plan.home.is_none_or(|home| *id != Place::Region(home));
            let unused = is_foreign && client.used.elapsed() > UNUSED;
            ticket.is_some() && kept && !unused
        });
        self.end_lanes();
        if self.plan.local != plan.local {
            self.lanes.rebind();
        }
        self.lanes.nat64 = plan.nat64;
        let numbers = &plan.peers;
        self.ways.send_modify(|ways| ways.retain(|peer, _| numbers.contains_key(peer)));
        self.busy.said.retain(|peer, _| numbers.contains_key(peer));
        self.plan = plan;
        if let Some(home) = self.plan.home {
            let home = Place::Region(home);
            self.clients.iter_mut().for_each(|((of, _), client)| client.set_home(*of == home));
            let keys: Vec<_> = self.keys().collect();
            keys.into_iter().for_each(|key| self.visit((home, key)));
        }
        // Where packets go by a key that is used no more, they are to go by the new one.
        let first = self.keys().next();
        if let Some(key) = first {
            let regions: Vec<_> = self.clients.keys().map(|(region, _)| *region).collect();
            regions.into_iter().for_each(|region| self.visit((region, key)));
        }
    }

    fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.plan.tickets.iter().map(|(key, _)| *key)
    }

    /// Is where peers look for this node while its home region does not serve.
    fn stand_by(&mut self) {
        let Some(home) = self.plan.home else { return };
        let now = Instant::now();
        let is_down = |key: &PublicKey| {
            let at_home = self.clients.get(&(Place::Region(home), *key));
            at_home.is_some_and(|client| client.is_down(now))
        };
        let down: Vec<_> = self.keys().filter(is_down).collect();
        if down.is_empty() {
            return;
        }
        let Some(other) = self.plan.stand_in(home) else { return };
        down.into_iter().for_each(|key| self.visit((Place::Region(other), key)));
    }

    /// Connects to a region, if that is not done.
    fn visit(&mut self, id: ClientId) {
        let plan = &self.plan;
        let relays = plan.relays(id.0);
        let ticket = plan.tickets.iter().find(|(key, _)| *key == id.1);
        let (Some(relays), Some((_, ticket)), Some(identity)) = (relays, ticket, &plan.identity)
        else {
            return;
        };
        if self.clients.contains_key(&id) || relays.is_empty() {
            return;
        }
        let random = OsRng.try_next_u32().unwrap_or_default();
        let right = (*ticket, identity.clone());
        let is_home = plan.home.is_some_and(|home| id.0 == Place::Region(home));
        let client = Client::new(id, relays, right, is_home, random);
        self.clients.insert(id, client);
    }

    fn take(&mut self, incoming: Incoming) {
        let (Incoming::Connected(LineId { client, .. }, _)
        | Incoming::Ended(LineId { client, .. }, _)
        | Incoming::Datagram(LineId { client, .. }, _)
        | Incoming::Frame(LineId { client, .. }, _)) = &incoming;
        let place = client.0;
        self.by_peers.changed |= matches!(place, Place::Peer(_));
        let Some(client) = self.clients.get_mut(client) else { return };
        let (port, numbers, plan) = (&self.port, &self.numbers, &self.plan);
        let (busy, by_peers) = (&mut self.busy, &mut self.by_peers);
        client.take(incoming, &mut self.lanes, |from, batch| {
            if let Some((peer, way)) = numbers.find(place, &from) {
                if (busy.note(peer, &batch) || plan.calls_only(peer)) && peer == way {
                    by_peers.note(peer, plan);
                }
                port.deliver(way, batch, plan.engine);
            }
        });
    }

    /// Lets go of lanes whose connection has ended.
    fn end_lanes(&mut self) {
        self.by_peers.changed = true;
        let clients = &self.clients;
        self.lanes.keep(|of, id| clients.get(&of).is_some_and(|client| client.has(id)));
    }

    /// Sends what lanes need.
    fn keep_lanes(&mut self) {
        for of in self.lanes.transmit() {
            self.by_peers.changed = true;
            if let Some(client) = self.clients.get_mut(&of.client) {
                client.lane_heard(of, &Heard::Bound(false));
            }
        }
    }

    fn hear_lanes(&mut self, received: &Received) {
        let (port, numbers, plan) = (&self.port, &self.numbers, &self.plan);
        let (busy, by_peers) = (&mut self.busy, &mut self.by_peers);
        let mut changed = false;
        let mut deliver = |(place, from): (Place, PublicKey), batch: Batch<'_>| {
            if let Some((peer, way)) = numbers.find(place, &from) {
                if (busy.note(peer, &batch) || plan.calls_only(peer)) && peer == way {
                    by_peers.note(peer, plan);
                }
                port.deliver(way, batch, plan.engine);
            }
        };
        let (clients, mut run) = (&mut self.clients, Run::default());
        self.lanes.hear(received, |of, heard| {
            if let Some(client) = clients.get_mut(&of.client) {
                client.lane_heard(of, &heard);
                match heard {
                    Heard::Packet(from, packet) => {
                        run.add((of.client.0, from), packet, &mut deliver);
                    }
                    Heard::Bound(_) | Heard::Lost => changed = true,
                }
            }
        });
        run.flush(&mut deliver);
        self.by_peers.changed |= changed;
    }

    /// Says it if it is news: this is looked at with each batch.
    fn say_standing(&self) {
        let at_home = || {
            let tickets = self.plan.tickets.iter();
            let client = |region, key| self.clients.get(&(Place::Region(region), key));
            tickets.filter_map(move |(key, _)| client(self.plan.home?, *key))
        };
        let home = self.plan.home.zip(at_home().find_map(Client::home));
        let home = home.map(|(region, (relay, carrier))| (region.0, relay, carrier));
        let trouble = at_home().find_map(Client::trouble).filter(|_| home.is_none());
        self.standing.send_if_modified(|said| {
            let known = said.home.as_ref();
            let known = known.map(|at| (at.region, at.relay.as_str(), at.carrier.as_str()));
            let is_new = known != home || said.trouble.as_deref() != trouble;
            if is_new {
                let home = home.map(|(region, relay, carrier)| RelayHome {
                    region,
                    relay: relay.to_owned(),
                    carrier: carrier.to_owned(),
                });
                *said = Standing { home, trouble: trouble.map(str::to_owned) };
            }
            is_new
        });
    }
}

/// Says which peers have relayed packets, so that a better way is looked for.
struct Busy {
    to: mpsc::Sender<PeerNumber>,
    said: HashMap<PeerNumber, Instant>,
}

impl Busy {
    /// Whether it is traffic: what looks for ways is none.
    fn note(&mut self, peer: PeerNumber, batch: &Batch<'_>) -> bool {
        if batch.datagrams().next().is_none_or(is_probe) {
            return false;
        }
        let now = Instant::now();
        let said = self.said.get(&peer);
        let is_new = said.is_none_or(|at| now.saturating_duration_since(*at) >= SAID);
        // One that finds no room is said with the next packet.
        if is_new && self.to.try_send(peer).is_ok() {
            self.said.insert(peer, now);
        }
        true
    }
}

fn say_way(ways: &watch::Sender<Ways>, peer: PeerNumber, way: &'static str) {
    ways.send_if_modified(|ways| ways.insert(peer, way) != Some(way));
}
