//! A node that is up: holds the line, the interface, keys and relays together.

mod news;
mod report;
mod telling;
mod ways;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use control_client::{Client, Trust};
use engine::Timestamp;
use proto::control::{Netmap, NodeId, Report};
use proto::key::PublicKey;
use proto::ticket::UnixSeconds;
use proto::uapi::Set;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, oneshot, watch};

use super::clocks::Clocks;
use super::control::{self, Line, Order};
use super::flows::FlowReports;
use super::interface::MeshInterface;
use super::kept_netmap::KeptNetmap;
use super::keys::KeyRing;
use super::links::Links;
use super::mapping::Mapper;
use super::names::MeshNames;
use super::nat64::Nat64;
use super::netcheck::{Awaited, NetReport};
use super::paths::{MeshPaths, Observed, PathReport, SpareProbe};
use super::peer_relay::PeerRelay;
use super::state::{Settings, State};
use super::status::Status;
use super::store::Store;
use super::whereabouts::Whereabouts;
use crate::io::divert::MARK;
use crate::io::udp::Length;
use crate::io::{clock, network};
use crate::wg::{Record, SharedNode};

/// How often paths, keys and questions are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How often the engine is asked what it has counted while there is traffic, and else: what begins goes by a
/// relay, whose task says so.
const LOOK: Duration = Duration::from_millis(250);
const IDLE_LOOK: Duration = Duration::from_secs(5);

/// Probes of spare sockets that wait.
const SPARE_PROBES: usize = 256;

/// What is asked of a node that is up.
pub(super) enum Ask {
    Status(oneshot::Sender<Status>),
    Explain(NodeId, oneshot::Sender<Option<PathReport>>),
    Netcheck(oneshot::Sender<NetReport>),
    Rotate(oneshot::Sender<Result<(), String>>),
    Leave(oneshot::Sender<Result<(), String>>),
    /// End.
    Down,
}

/// How it stands with the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Connected,
    Pending,
    Offline(String),
    Revoked(String),
}

pub(super) struct Mesh {
    interface_name: String,
    node: SharedNode,
    interface: MeshInterface,
    line: Line,
    keys: KeyRing,
    netmap: KeptNetmap,
    links: Links,
    mapper: Mapper,
    nat64: Nat64,
    peer_relay: PeerRelay,
    names: MeshNames,
    standing: watch::Sender<Link>,
    paths: MeshPaths,
    spare_probes: mpsc::Receiver<SpareProbe>,
    /// When the engine was last asked what it has counted.
    looked: Timestamp,
    whereabouts: Whereabouts,
    flows: FlowReports,
    /// Whether the line is there.
    connected: bool,
    clocks: Clocks,
    /// What netcheck has sent to this node itself.
    awaited: Awaited,
}

/// What a mesh is started from.
pub(super) struct Start {
    pub(super) store: Store,
    pub(super) state: State,
    pub(super) interface_name: String,
    pub(super) node: SharedNode,
    pub(super) interface: MeshInterface,
    pub(super) netmap: Option<Netmap>,
    pub(super) standing: watch::Sender<Link>,
}

pub(super) fn client(settings: &Settings) -> anyhow::Result<Client> {
    let trust = settings.ca.clone().map_or(Trust::Host, Trust::File);
    Ok(Client::new(&settings.control, &trust)?)
}

fn unix_now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

impl Mesh {
    pub(super) async fn start(start: Start) -> anyhow::Result<Self> {
        let Start { store, state, interface_name, node, mut interface, netmap, standing } = start;
        let identity = state.identity.as_ref().context("this node has no keys yet")?;
        let id = identity.node.context("this node is not enrolled")?;
        let set = Set {
            private_key: Some(Some(identity.key.private_key().clone())),
            listen_port: Some(state.settings.port),
            fwmark: Some(MARK),
            ..Set::default()
        };
        interface.start(set).await?;
        let names =
            MeshNames::start(state.settings.names, &interface_name, &interface.network, &store)
                .await;
        let node_keys = (identity.node_key.clone(), identity.next_node_key.clone());
        let line = control::keep(client(&state.settings)?, id, node_keys);
        let now = clock::now();
        let peer_relay = PeerRelay::start(state.settings.peer_relay)?;
        let mut keys = KeyRing::new(store.clone(), state, now);
        let (say_spare, spare_probes) = mpsc::channel(SPARE_PROBES);
        let mut paths = MeshPaths::new(&keys.probe_key()?, say_spare);
        paths.set_port(node.lock().await.port());
        let mut mesh = Self {
            interface_name,
            node,
            interface,
            line,
            keys,
            netmap: KeptNetmap::new(store),
            links: Links::start()?,
            mapper: Mapper::start(),
            nat64: Nat64::new(),
            peer_relay,
            names,
            standing,
            paths,
            spare_probes,
            looked: now,
            whereabouts: Whereabouts::new(now),
            flows: FlowReports::default(),
            connected: false,
            clocks: Clocks::new(now, clock::kernel()),
            awaited: Awaited::default(),
        };
        mesh.nat64.look(&mesh.interface.local.networks);
        mesh.keys.keep_port(mesh.node.lock().await.port());
        if let Some(netmap) = netmap {
            mesh.adopt(netmap).await;
        }
        Ok(mesh)
    }

    /// Runs until it is told to end, or the interface was deleted.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Ask>,
        mut side: mpsc::Receiver<(SocketAddr, Box<[u8]>)>,
        mut flows: broadcast::Receiver<Arc<Record>>,
        mut deleted: oneshot::Receiver<()>,
    ) -> &'static str {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut moves = network::watch_addresses()
            .inspect_err(|error| tracing::warn!("changes of the network are not seen: {error:#}"))
            .ok();
        let mut flows_over = false;
        loop {
            tokio::select! {
                Some(event) = self.line.events.recv() => self.hear(event).await,
                ask = asked.recv() => match ask {
                    Some(Ask::Status(reply)) => drop(reply.send(self.status().await)),
                    Some(Ask::Explain(node, reply)) => {
                        drop(reply.send(self.explain(&node)));
                    }
                    Some(Ask::Netcheck(reply)) => self.check_network(reply),
                    Some(Ask::Rotate(reply)) => drop(reply.send(self.ask_rotation())),
                    Some(Ask::Leave(reply)) => {
                        // The daemon forgets the node when it hears that this was done.
                        let _ = self.line.orders.send(Order::Leave(reply)).await;
                    }
                    Some(Ask::Down) | None => break,
                },
                Some((from, datagram)) = side.recv() => self.take_aside(from, &datagram).await,
                Some(probe) = self.spare_probes.recv() => {
                    self.paths.take_spare(&probe, clock::now());
                    self.walk_paths().await;
                }
                Some(news) = self.links.news() => self.hear_relays(news).await,
                Some(offer) = self.peer_relay.changed() => {
                    self.report(Report { relay: Some(offer), ..Report::default() }).await;
                }
                () = until(self.paths.poll_timeout()) => self.walk_paths().await,
                _ = look.tick(), if self.paths.is_awake(clock::now()) => self.count_traffic().await,
                flow = flows.recv(), if !flows_over => match flow {
                    Ok(record) => self.take_flow(&record),
                    Err(RecvError::Lagged(events)) => self.flows.miss(events),
                    Err(RecvError::Closed) => flows_over = true,
                },
                Some(()) = moved(&mut moves) => self.look_around().await,
                () = self.nat64.changed() => self.take_nat64().await,
                () = self.mapper.changed() => self.take_mapping().await,
                _ = &mut deleted => break,
                _ = tick.tick() => self.tick().await,
            }
        }
        self.netmap.keep();
        self.interface.stop().await;
        self.names.stop().await;
        self.mapper.stop().await;
        "taken down"
    }

    async fn tick(&mut self) {
        let now = clock::now();
        if let Some(slept) = self.clocks.slept(now, clock::kernel()) {
            tracing::info!(seconds = slept.as_secs(), "the machine was asleep");
            self.line.wake.notify_one();
            self.look_around().await;
        }
        if self.keys.drops_former(now) {
            self.plan_links().await;
        }
        self.ask_relays().await;
        self.ask_router(now).await;
        self.settle_home().await;
        // What begins by no relay is seen by nobody else.
        let begins_elsewhere = self.links.home().is_none() || self.paths.begins_nowhere();
        if !self.paths.is_awake(now) && (begins_elsewhere || now - self.looked >= IDLE_LOOK) {
            self.count_traffic().await;
        }
        if self.paths.has_plain() {
            let observed = self.observe().await;
            let changes = self.paths.tick(|key| observed.get(key).copied(), now);
            self.change_paths(changes).await;
        }
        self.turn_keys().await;
        self.renew_node_key().await;
        self.tell_flows().await;
        self.netmap.keep();
    }

    fn take_flow(&mut self, record: &Record) {
        if let Some(event) = record.event.told() {
            self.flows.take(event, || record.told());
        }
    }

    async fn observe(&self) -> HashMap<PublicKey, Observed> {
        let peers = self.node.lock().await.peers().await.unwrap_or_default();
        let observe = |peer: &engine::PeerStatus| {
            let endpoint = peer.endpoint.map(|endpoint| endpoint.address);
            let (sent, received) = (peer.tx_bytes, peer.rx_bytes);
            (peer.public_key, Observed { endpoint, sent, received, heard: peer.last_heard })
        };
        peers.iter().map(observe).collect()
    }

    async fn ask_relays(&mut self) {
        let Some(netmap) = self.netmap.get() else { return };
        let regions = self.regions(netmap);
        let questions = self.whereabouts.questions(&regions, clock::now());
        if !questions.is_empty() {
            let node = self.node.lock().await;
            for (to, question) in questions {
                node.send_from_port(to, &question, Length::Any);
            }
        }
    }

    fn is_connected(&self) -> bool {
        *self.standing.borrow() == Link::Connected
    }
}

async fn until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at - clock::now()).await,
        None => std::future::pending().await,
    }
}

async fn moved(changes: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
