//! Packets by relays, for peers that cannot be reached directly.
//!
//! One task holds a connection to a relay of the home region, and to those of other regions where
//! peers are at home that packets go to. The engine knows nothing of it: see [`port`].

mod client;
mod connect;
mod port;
mod trust;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::control::{Region, RegionId};
use proto::key::PublicKey;
use proto::ticket::SignedTicket;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use relay_client::ConnectionId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::secret::Secret;
use client::{Client, ClientId};
use connect::Incoming;
pub(crate) use port::PeerNumber;
use port::RelayPort;

/// A foreign region that nothing was sent to for so long is left.
const UNUSED: Duration = Duration::from_secs(300);
/// The longest sleep.
const LOOK: Duration = Duration::from_secs(5);

/// A connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LineId {
    client: ClientId,
    connection: ConnectionId,
}

/// What there is to be connected to, and for whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) regions: Vec<Region>,
    pub(crate) home: Option<RegionId>,
    /// By which keys the node is served, the one to send by first.
    pub(crate) tickets: Vec<(PublicKey, SignedTicket)>,
    pub(crate) identity: Option<Secret>,
    pub(crate) peers: BTreeMap<PeerNumber, RelayPeer>,
    /// The WireGuard port of this node.
    pub(crate) engine: u16,
}

/// A peer, as relays know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayPeer {
    /// Its key, then others that mean it too.
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) home: Option<RegionId>,
}

/// Where the node is at home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelayHome {
    pub(crate) region: u16,
    pub(crate) relay: String,
    /// What carries the connection: `QUIC` or `TLS`.
    pub(crate) carrier: String,
}

/// The end that the node holds; the task ends with it.
pub(crate) struct Relays {
    plans: watch::Sender<Plan>,
    home: watch::Receiver<Option<RelayHome>>,
    port: u16,
}

impl Relays {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let port = RelayPort::open().context("cannot open a socket for relayed packets")?;
        let number = port.number()?;
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let endpoint = quinn::Endpoint::client(any)
            .or_else(|_| quinn::Endpoint::client(([0, 0, 0, 0], 0).into()))
            .context("cannot open a socket for QUIC")?;
        let (plans, plan) = watch::channel(Plan::default());
        let (said, home) = watch::channel(None);
        let (incoming, inbox) = mpsc::channel(1024);
        let task = Task {
            port,
            endpoint,
            plan: Plan::default(),
            numbers: HashMap::new(),
            clients: HashMap::new(),
            incoming,
            home: said,
        };
        tokio::spawn(task.run(plan, inbox));
        Ok(Self { plans, home, port: number })
    }

    /// Where the engine sends packets for a peer.
    pub(crate) fn address(&self, peer: PeerNumber) -> SocketAddr {
        (peer.address(), self.port).into()
    }

    pub(crate) fn set(&self, plan: Plan) {
        self.plans.send_replace(plan);
    }

    pub(crate) fn home(&self) -> Option<RelayHome> {
        self.home.borrow().clone()
    }
}

struct Task {
    port: RelayPort,
    endpoint: quinn::Endpoint,
    plan: Plan,
    numbers: HashMap<PublicKey, PeerNumber>,
    clients: HashMap<ClientId, Client>,
    incoming: mpsc::Sender<Incoming>,
    home: watch::Sender<Option<RelayHome>>,
}

impl Task {
    async fn run(mut self, mut plans: watch::Receiver<Plan>, mut inbox: mpsc::Receiver<Incoming>) {
        loop {
            for client in self.clients.values_mut() {
                client.act(&self.endpoint, &self.incoming);
            }
            self.say_home();
            let due = self.clients.values().filter_map(Client::poll_timeout).min();
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
                received = self.port.receive(engine) => match received {
                    Ok((peer, packets)) => {
                        let (plan, clients) = (&self.plan, &mut self.clients);
                        if let Some(batch) = packets.batch()
                            && let Some(missing) = send(plan, clients, peer, batch)
                        {
                            self.visit(missing);
                        }
                    }
                    Err(error) => tracing::debug!(%error, "relayed packets are not received"),
                },
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
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
            let kept = region(*id).is_some_and(|region| client.is_of(region));
            if let (Some((_, ticket)), true) = (ticket, kept) {
                client.renew(*ticket);
            }
            let is_foreign = Some(*id) != plan.home;
            let unused = is_foreign && client.used.elapsed() > UNUSED;
            ticket.is_some() && kept && !unused
        });
        self.plan = plan;
        if let Some(home) = self.plan.home {
            let keys: Vec<_> = self.plan.tickets.iter().map(|(key, _)| *key).collect();
            keys.into_iter().for_each(|key| self.visit((home, key)));
        }
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
        client.take(incoming, |from, batch| {
            if let Some(&number) = numbers.get(&from) {
                port.deliver(number, batch, engine);
            }
        });
    }

    fn say_home(&self) {
        let home = self.plan.home.and_then(|region| {
            let clients = self
                .plan
                .tickets
                .iter()
                .filter_map(|(key, _)| self.clients.get(&(region, *key))?.home());
            let (relay, carrier) = clients.into_iter().next()?;
            Some(RelayHome { region: region.0, relay, carrier: carrier.to_owned() })
        });
        self.home.send_if_modified(|said| {
            let is_new = *said != home;
            *said = home;
            is_new
        });
    }
}

/// Sends packets to a peer's home region; gives where a connection is missing, if one is.
fn send(
    plan: &Plan,
    clients: &mut HashMap<ClientId, Client>,
    peer: PeerNumber,
    batch: proto::relay::Batch<'_>,
) -> Option<ClientId> {
    let peer = plan.peers.get(&peer)?;
    let to = *peer.keys.first()?;
    let region = peer.home.or(plan.home)?;
    for (key, _) in &plan.tickets {
        if let Some(client) = clients.get_mut(&(region, *key))
            && client.send(to, batch)
        {
            return None;
        }
    }
    plan.tickets.first().map(|(key, _)| (region, *key))
}
