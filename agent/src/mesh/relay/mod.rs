//! Packets by relays, for peers that cannot be reached directly.
//!
//! One task holds a connection to a relay of the home region, and to those of other regions where
//! peers are at home that packets go to. The engine knows nothing of it: see [`port`].

mod client;
mod connect;
mod lanes;
mod plan;
mod port;
mod sending;
mod trust;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::control::RegionId;
use proto::key::PublicKey;
use proto::probe::is_probe;
use proto::relay::Batch;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use relay_client::ConnectionId;
use socket2::SockRef;
use tokio::sync::{mpsc, watch};

use crate::io::udp::Received;
use client::{Client, ClientId};
use connect::{Incoming, marked};
use lanes::{Heard, Lanes, Run};
use plan::Standing;
pub(crate) use plan::{Plan, RelayHome, RelayPeer};
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
    port: u16,
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
        let task = Task {
            port,
            endpoint,
            lanes,
            plan: Plan::default(),
            numbers: HashMap::new(),
            clients: HashMap::new(),
            incoming,
            standing: say_standing,
            ways: say_ways,
            busy: Busy { to: say_busy, said: HashMap::new() },
            waiting: HashMap::new(),
        };
        tokio::spawn(task.run(plan, inbox));
        Ok(Self { plans, standing, ways, busy, port: number })
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
        self.standing.borrow().trouble.clone()
    }

    /// Waits for a peer that has relayed packets: where the engine sends them.
    pub(crate) async fn busy(&mut self) -> Option<SocketAddr> {
        let peer = self.busy.recv().await?;
        Some(self.address(peer))
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
    numbers: HashMap<PublicKey, PeerNumber>,
    clients: HashMap<ClientId, Client>,
    incoming: mpsc::Sender<Incoming>,
    standing: watch::Sender<Standing>,
    ways: watch::Sender<Ways>,
    busy: Busy,
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
            self.keep_lanes();
            self.send_waiting();
            self.say_standing();
            let due = self.clients.values().filter_map(Client::poll_timeout);
            let due = due.chain(self.lanes.poll_timeout()).min();
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
                            self.busy.note(peer, &batch);
                            let (clients, lanes) = (&mut self.clients, &mut self.lanes);
                            match send(&self.plan, clients, lanes, peer, batch) {
                                Sent::By(way) => say_way(&self.ways, peer, way),
                                Sent::Missing(client) => {
                                    let kept = (batch.bytes().to_vec(), batch.segment());
                                    self.visit(client);
                                    self.wait(peer, kept);
                                }
                                Sent::Nowhere => {}
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
        self.numbers = plan
            .peers
            .iter()
            .flat_map(|(number, peer)| peer.keys.iter().map(|key| (*key, *number)))
            .collect();
        let region = |id: RegionId| plan.regions.iter().find(|region| region.id == id);
        self.clients.retain(|(id, key), client| {
            let ticket = plan.tickets.iter().find(|(of, _)| of == key);
            let stale = plan.identity.as_ref().is_some_and(|identity| client.is_stale(identity));
            let kept = !stale && region(*id).is_some_and(|region| client.is_of(region));
            if let (Some((_, ticket)), Some(identity), true) = (ticket, &plan.identity, kept) {
                client.renew(*ticket, identity);
            }
            let is_foreign = Some(*id) != plan.home;
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
            self.clients.get(&(home, *key)).is_some_and(|client| client.is_down(now))
        };
        let down: Vec<_> = self.keys().filter(is_down).collect();
        if down.is_empty() {
            return;
        }
        let Some(other) = self.plan.stand_in(home) else { return };
        down.into_iter().for_each(|key| self.visit((other, key)));
    }

    /// Connects to a region, if that is not done.
    fn visit(&mut self, id: ClientId) {
        let plan = &self.plan;
        let region = plan.regions.iter().find(|region| region.id == id.0);
        let ticket = plan.tickets.iter().find(|(key, _)| *key == id.1);
        let (Some(region), Some((_, ticket)), Some(identity)) = (region, ticket, &plan.identity)
        else {
            return;
        };
        if self.clients.contains_key(&id) || region.relays.is_empty() {
            return;
        }
        let random = OsRng.try_next_u32().unwrap_or_default();
        let right = (*ticket, identity.clone());
        let client = Client::new(id, region, right, plan.home == Some(id.0), random);
        self.clients.insert(id, client);
    }

    fn take(&mut self, incoming: Incoming) {
        let (Incoming::Connected(LineId { client, .. }, _)
        | Incoming::Ended(LineId { client, .. }, _)
        | Incoming::Datagram(LineId { client, .. }, _)
        | Incoming::Frame(LineId { client, .. }, _)) = &incoming;
        let Some(client) = self.clients.get_mut(client) else { return };
        let (port, numbers, engine) = (&self.port, &self.numbers, self.plan.engine);
        let busy = &mut self.busy;
        client.take(incoming, &mut self.lanes, |from, batch| {
            if let Some(&number) = numbers.get(&from) {
                busy.note(number, &batch);
                port.deliver(number, batch, engine);
            }
        });
    }

    /// Lets go of lanes whose connection has ended.
    fn end_lanes(&mut self) {
        let clients = &self.clients;
        self.lanes.keep(|of, id| clients.get(&of).is_some_and(|client| client.has(id)));
    }

    /// Sends what lanes need.
    fn keep_lanes(&mut self) {
        for of in self.lanes.transmit() {
            if let Some(client) = self.clients.get_mut(&of.client) {
                client.lane_heard(of, &Heard::Bound(false));
            }
        }
    }

    fn hear_lanes(&mut self, received: &Received) {
        let (port, numbers, engine) = (&self.port, &self.numbers, self.plan.engine);
        let busy = &mut self.busy;
        let mut deliver = |from: PublicKey, batch: Batch<'_>| {
            if let Some(&number) = numbers.get(&from) {
                busy.note(number, &batch);
                port.deliver(number, batch, engine);
            }
        };
        let (clients, mut run) = (&mut self.clients, Run::default());
        self.lanes.hear(received, |of, heard| {
            if let Some(client) = clients.get_mut(&of.client) {
                client.lane_heard(of, &heard);
                if let Heard::Packet(from, packet) = heard {
                    run.add(from, packet, &mut deliver);
                }
            }
        });
        run.flush(&mut deliver);
    }

    fn say_standing(&self) {
        let of_home = |region| {
            let clients = self.plan.tickets.iter();
            clients.filter_map(move |(key, _)| self.clients.get(&(region, *key)))
        };
        let home = self.plan.home.and_then(|region| {
            let (relay, carrier) = of_home(region).find_map(Client::home)?;
            Some(RelayHome { region: region.0, relay, carrier: carrier.to_owned() })
        });
        let trouble = match (&home, self.plan.home) {
            (None, Some(region)) => of_home(region).find_map(Client::trouble),
            _ => None,
        };
        let standing = Standing { home, trouble };
        self.standing.send_if_modified(|said| {
            let is_new = *said != standing;
            *said = standing;
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
    fn note(&mut self, peer: PeerNumber, batch: &Batch<'_>) {
        // What looks for ways is no traffic.
        if batch.datagrams().next().is_none_or(is_probe) {
            return;
        }
        let now = Instant::now();
        let said = self.said.get(&peer);
        let is_new = said.is_none_or(|at| now.saturating_duration_since(*at) >= SAID);
        // One that finds no room is said with the next packet.
        if is_new && self.to.try_send(peer).is_ok() {
            self.said.insert(peer, now);
        }
    }
}

fn say_way(ways: &watch::Sender<Ways>, peer: PeerNumber, way: &'static str) {
    ways.send_if_modified(|ways| ways.insert(peer, way) != Some(way));
}
