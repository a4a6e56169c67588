//! A node that is up: holds the line, the interface and the relays together.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use control_client::{Client, Trust};
use engine::{KeyChange, PathChange, Timestamp};
use proto::control::{Applied, MAX_ENDPOINTS, Netmap, NodeId, RegionId, Report, Standing};
use proto::key::PublicKey;
use proto::ticket::UnixSeconds;
use proto::uapi::Set;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::sync::{mpsc, oneshot, watch};

use super::control::{self, Event, Line, Order};
use super::interface::MeshInterface;
use super::names::MeshNames;
use super::paths::{Observed, Paths};
use super::reflexive::Reflexive;
use super::relay::{PeerNumber, Plan, RelayPeer, Relays};
use super::rotation::{self, Keys, Step};
use super::secret::Secret;
use super::state::{NextKey, State};
use super::status::{PeerStatus, Status};
use super::store::Store;
use crate::io::{clock, network};
use crate::wg::SharedNode;

/// How often paths, keys and questions are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How long the relay serves the key before, for packets that are under way to it.
const FORMER_KEY: Duration = Duration::from_secs(60);

/// What is asked of a node that is up.
pub(super) enum Ask {
    Status(oneshot::Sender<Status>),
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
    store: Store,
    state: State,
    interface_name: String,
    node: SharedNode,
    interface: MeshInterface,
    line: Line,
    relays: Relays,
    names: MeshNames,
    netmap: Option<Netmap>,
    standing: watch::Sender<Link>,
    paths: Paths,
    reflexive: Reflexive,
    home: Option<RegionId>,
    endpoints: Vec<SocketAddr>,
    numbers: BTreeMap<NodeId, PeerNumber>,
    /// Whether the line is there.
    connected: bool,
    former_key: Option<(PublicKey, proto::ticket::SignedTicket, Timestamp)>,
    rotate: bool,
    renewing: Option<oneshot::Receiver<Result<proto::control::RenewResponse, String>>>,
    /// Both clocks at the last tick: they differ if the machine slept.
    ticked: (Timestamp, tokio::time::Instant),
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

pub(super) fn client(state: &State) -> anyhow::Result<Client> {
    let trust = state.settings.ca.clone().map_or(Trust::Host, Trust::File);
    Ok(Client::new(&state.settings.control, &trust)?)
}

pub(super) fn unix_now() -> UnixSeconds {
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
            ..Set::default()
        };
        interface.start(set).await?;
        let names = MeshNames::start(state.settings.names, &interface_name, &store).await;
        let line = control::keep(client(&state)?, id, identity.node_key.clone());
        let now = clock::now();
        let mut mesh = Self {
            store,
            interface_name,
            node,
            interface,
            line,
            relays: Relays::start()?,
            names,
            netmap: None,
            standing,
            paths: Paths::default(),
            reflexive: Reflexive::new(now),
            home: None,
            endpoints: Vec::new(),
            numbers: BTreeMap::new(),
            connected: false,
            former_key: None,
            rotate: false,
            renewing: None,
            ticked: (now, tokio::time::Instant::now()),
            state,
        };
        mesh.keep_port().await;
        if let Some(netmap) = netmap {
            mesh.adopt(netmap).await;
        }
        Ok(mesh)
    }

    /// Runs until it is told to end.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Ask>,
        mut side: mpsc::Receiver<(SocketAddr, Box<[u8]>)>,
    ) -> &'static str {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut moves = network::watch_addresses()
            .inspect_err(|error| tracing::warn!("changes of the network are not seen: {error:#}"))
            .ok();
        loop {
            tokio::select! {
                Some(event) = self.line.events.recv() => self.hear(event).await,
                ask = asked.recv() => match ask {
                    Some(Ask::Status(reply)) => drop(reply.send(self.status().await)),
                    Some(Ask::Rotate(reply)) => drop(reply.send(self.ask_rotation())),
                    Some(Ask::Leave(reply)) => {
                        // The daemon forgets the node when it hears that this was done.
                        let _ = self.line.orders.send(Order::Leave(reply)).await;
                    }
                    Some(Ask::Down) | None => break,
                },
                Some((_, datagram)) = side.recv() => {
                    if self.reflexive.answer(&datagram, clock::now()) {
                        self.gather().await;
                        self.choose_home();
                    }
                }
                Some(()) = moved(&mut moves) => self.look_around().await,
                _ = tick.tick() => self.tick().await,
            }
        }
        self.names.stop().await;
        "taken down"
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Connected => {
                tracing::info!(control = self.state.settings.control, "connected");
                self.connected = true;
                self.say_standing();
                self.report_all().await;
            }
            Event::Snapshot(snapshot) => self.adopt(Netmap::from(*snapshot)).await,
            Event::Delta(delta) => {
                let Some(mut netmap) = self.netmap.take() else { return };
                // The line has looked that it fits.
                if let Err(error) = netmap.apply(*delta) {
                    tracing::warn!("{error}");
                    self.line.wake.notify_one();
                }
                self.adopt(netmap).await;
            }
            Event::Revoked(reason) => {
                tracing::warn!("this node is in the network no more: {reason}");
                self.connected = false;
                self.interface.cut().await;
                self.netmap = None;
                self.store.forget_netmap();
                self.relays.set(Plan::default());
                self.standing.send_replace(Link::Revoked(reason));
            }
            Event::Lost(reason) => {
                self.connected = false;
                tracing::warn!("the control plane is away, the last netmap is used: {reason}");
                if !matches!(*self.standing.borrow(), Link::Revoked(_)) {
                    self.standing.send_replace(Link::Offline(reason));
                }
            }
        }
    }

    fn say_standing(&self) {
        let pending = self.netmap.as_ref().is_some_and(|n| n.me.standing == Standing::Pending);
        self.standing.send_replace(match (&self.netmap, pending) {
            (None, _) => Link::Connecting,
            (Some(_), true) => Link::Pending,
            (Some(_), false) => Link::Connected,
        });
    }

    /// Makes a netmap true.
    async fn adopt(&mut self, netmap: Netmap) {
        self.interface.apply(&netmap, &self.state.settings).await;
        self.names.update(&netmap).await;
        if let Err(error) = self.store.keep_netmap(&netmap) {
            tracing::warn!("the netmap is not kept: {error:#}");
        }
        let first = self.netmap.is_none();
        self.netmap = Some(netmap);
        if first || self.home.is_none() {
            self.choose_home();
        }
        self.plan_relays().await;
        self.set_paths().await;
        if self.connected {
            self.say_standing();
            self.rotation_step().await;
            self.report(Report { applied: self.applied(), ..Report::default() }).await;
        }
    }

    async fn set_paths(&mut self) {
        let Some(netmap) = &self.netmap else { return };
        let now = clock::now();
        let mut changes = Vec::new();
        for gone in self.paths.ids() {
            if !self.interface.applied.peers.contains_key(&gone) {
                self.paths.remove(&gone);
                self.numbers.remove(&gone);
            }
        }
        let has_relays = netmap.regions.iter().any(|region| !region.relays.is_empty());
        for peer in netmap.peers.values() {
            if !self.interface.applied.peers.contains_key(&peer.id) {
                continue;
            }
            let relay = self.numbers.get(&peer.id).filter(|_| has_relays);
            let relay = relay.map(|number| self.relays.address(*number));
            let change = self.paths.set(peer.id, peer.key, peer.endpoints.clone(), relay, now);
            changes.extend(change.map(|change| (peer.key, change)));
        }
        self.change_paths(changes).await;
    }

    async fn change_paths(&self, changes: Vec<(PublicKey, PathChange)>) {
        if !changes.is_empty() {
            self.node.lock().await.change_paths(changes);
        }
    }

    /// Tells the relays' task whom it serves.
    async fn plan_relays(&mut self) {
        let (Some(netmap), Some(identity)) = (&self.netmap, &self.state.identity) else { return };
        let mut peers = BTreeMap::new();
        for peer in netmap.peers.values() {
            let free = || (0..).map(PeerNumber).find(|n| !self.numbers.values().any(|u| u == n));
            let number = match self.numbers.get(&peer.id) {
                Some(number) => Some(*number),
                None => free(),
            };
            let Some(number) = number else { continue };
            self.numbers.insert(peer.id, number);
            let keys = [Some(peer.key), peer.next_key].into_iter().flatten().collect();
            peers.insert(number, RelayPeer { keys, home: peer.home });
        }
        let mut tickets = Vec::new();
        if let Some(relay) = &netmap.ticket {
            let all = [Some(relay.ticket), relay.next].into_iter().flatten();
            tickets.extend(all.map(|ticket| (ticket.claims().node, ticket)));
        }
        let own = identity.key.public_key();
        // The one for the key that is in use comes first.
        tickets.sort_by_key(|(key, _)| *key != own);
        if let Some((key, ticket, until)) = self.former_key
            && clock::now() < until
        {
            tickets.push((key, ticket));
        }
        let engine = self.node.lock().await.port();
        self.relays.set(Plan {
            regions: netmap.regions.clone(),
            home: self.home,
            tickets,
            identity: Some(identity.node_key.clone()),
            peers,
            engine,
        });
    }

    /// The nearest region, or the first while that is not known. A home that serves is kept.
    fn choose_home(&mut self) {
        let Some(netmap) = &self.netmap else { return };
        let exists = |id: &RegionId| netmap.regions.iter().any(|region| region.id == *id);
        if self.home.as_ref().is_some_and(exists) && self.relays.home().is_some() {
            return;
        }
        let nearest = self.reflexive.nearest().filter(exists);
        let first = netmap.regions.iter().find(|region| !region.relays.is_empty());
        self.home = nearest.or_else(|| first.map(|region| region.id));
    }

    async fn tick(&mut self) {
        let now = clock::now();
        let (before, awake) = self.ticked;
        let slept = (now - before).saturating_sub(awake.elapsed());
        self.ticked = (now, tokio::time::Instant::now());
        if slept > Duration::from_secs(5) {
            tracing::info!(seconds = slept.as_secs(), "the machine was asleep");
            self.line.wake.notify_one();
            self.look_around().await;
        }
        if self.former_key.as_ref().is_some_and(|(_, _, until)| *until <= now) {
            self.former_key = None;
            self.plan_relays().await;
        }
        self.ask_relays().await;
        let had_home = self.home;
        self.choose_home();
        if had_home != self.home {
            self.plan_relays().await;
            self.report(Report { home: self.home, ..Report::default() }).await;
        }
        let peers = self.node.lock().await.peers().await.unwrap_or_default();
        let observed: HashMap<PublicKey, Observed> = peers
            .iter()
            .map(|peer| {
                let endpoint = peer.endpoint.map(|endpoint| endpoint.address);
                let (sent, received) = (peer.tx_bytes, peer.rx_bytes);
                (peer.public_key, Observed { endpoint, sent, received, heard: peer.last_heard })
            })
            .collect();
        let changes = self.paths.tick(|key| observed.get(key).copied(), now);
        self.change_paths(changes).await;
        self.rotation_step().await;
        self.renewal_step().await;
    }

    async fn ask_relays(&mut self) {
        let Some(netmap) = &self.netmap else { return };
        let random = || {
            let mut transaction = [0; 12];
            // Where there are no random numbers, answers may be confused, at worst.
            let _ = OsRng.try_fill_bytes(&mut transaction);
            transaction
        };
        let questions = self.reflexive.questions(&netmap.regions, random, clock::now());
        if !questions.is_empty() {
            let node = self.node.lock().await;
            for (to, question) in questions {
                node.send_from_port(to, &question);
            }
        }
    }

    /// The host's addresses may be others.
    async fn look_around(&mut self) {
        let before = self.interface.local.clone();
        self.interface.look_around().await;
        if before != self.interface.local {
            tracing::info!("the network of the host is another");
            let now = clock::now();
            self.reflexive.start_over(now);
            let changes = self.paths.start_over(now);
            self.change_paths(changes).await;
            self.names.look_around().await;
            self.line.wake.notify_one();
        }
        self.gather().await;
    }

    /// Finds where this node can be reached, and says so if it is news.
    async fn gather(&mut self) {
        let port = self.node.lock().await.port();
        let local = self.interface.local.iter().map(|net| SocketAddr::from((net.addr(), port)));
        let mut endpoints: Vec<_> =
            local.chain(self.reflexive.seen.values().map(|(address, _)| *address)).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints.truncate(MAX_ENDPOINTS);
        if endpoints != self.endpoints {
            self.endpoints = endpoints;
            let endpoints = Some(self.endpoints.clone());
            self.report(Report { endpoints, ..Report::default() }).await;
        }
    }

    fn applied(&self) -> Option<Applied> {
        let revision = self.netmap.as_ref()?.revision;
        Some(Applied { revision, generation: self.interface.generation.0.into() })
    }

    async fn report_all(&mut self) {
        self.interface.look_around().await;
        self.gather().await;
        self.report(Report {
            endpoints: Some(self.endpoints.clone()),
            home: self.home,
            routes: Some(self.state.settings.advertise_routes.clone()),
            applied: self.applied(),
            ..Report::default()
        })
        .await;
        self.rotation_step().await;
    }

    async fn report(&self, report: Report) {
        // A line that has ended is made anew, and then all is reported.
        let _ = self.line.orders.send(Order::Report(Box::new(report))).await;
    }

    fn ask_rotation(&mut self) -> Result<(), String> {
        match &*self.standing.borrow() {
            Link::Connected => {
                self.rotate = true;
                Ok(())
            }
            _ => Err("keys change only while the control plane is there to tell others".into()),
        }
    }

    async fn rotation_step(&mut self) {
        let (Some(netmap), Some(identity)) = (&self.netmap, &mut self.state.identity) else {
            return;
        };
        if *self.standing.borrow() != Link::Connected {
            return;
        }
        let next = identity.next_key.as_ref();
        let keys = Keys {
            key: identity.key.public_key(),
            next: next.map(|next| next.key.public_key()),
            named: next.and_then(|next| next.named),
        };
        let now = unix_now();
        let mut report = Report::default();
        match rotation::next_step(keys, &netmap.me, self.rotate, now) {
            Step::Nothing => return,
            Step::Make => {
                self.rotate = false;
                let Ok(key) = Secret::generate() else { return };
                report.next_key = Some(key.public_key());
                identity.next_key = Some(NextKey { key, named: None });
            }
            Step::Name => report.next_key = keys.next,
            Step::Named => {
                if let Some(next) = &mut identity.next_key {
                    next.named = Some(now);
                }
            }
            Step::Use => {
                let Some(next) = identity.next_key.take() else { return };
                let ticket = netmap.ticket.as_ref().map(|ticket| ticket.ticket);
                self.former_key = ticket
                    .filter(|ticket| ticket.claims().node == keys.key)
                    .map(|ticket| (keys.key, ticket, clock::now() + FORMER_KEY));
                identity.key = next.key;
                let private = identity.key.private_key().clone();
                report.key = Some(identity.key.public_key());
                tracing::info!(key = %identity.key.public_key(), "another WireGuard key is used");
                // On disk first: after a crash, peers expect it already.
                if let Err(error) = self.store.keep_state(&self.state) {
                    tracing::error!("the new key is not kept: {error:#}");
                }
                self.interface.change_keys(vec![KeyChange::Own(private)]).await;
                self.plan_relays().await;
            }
            Step::Say => report.key = Some(keys.key),
        }
        self.keep_state();
        self.report(report).await;
    }

    async fn renewal_step(&mut self) {
        if let Some(renewing) = &mut self.renewing {
            let Ok(renewed) = renewing.try_recv() else { return };
            self.renewing = None;
            let Some(identity) = &mut self.state.identity else { return };
            match (renewed, identity.next_node_key.take()) {
                (Ok(_), Some(key)) => {
                    identity.node_key = key;
                    self.keep_state();
                    self.plan_relays().await;
                    tracing::info!("the node key is renewed");
                }
                (Err(error), _) => tracing::warn!("the node key is not renewed: {error}"),
                (Ok(_), None) => {}
            }
            return;
        }
        let Some(netmap) = &self.netmap else { return };
        let connected = *self.standing.borrow() == Link::Connected;
        if !connected || !rotation::wants_node_key(&netmap.me, unix_now()) {
            return;
        }
        let (Some(identity), Ok(key)) = (&mut self.state.identity, Secret::generate()) else {
            return;
        };
        identity.next_node_key = Some(key.clone());
        self.keep_state();
        let (reply, answer) = oneshot::channel();
        self.renewing = Some(answer);
        let _ = self.line.orders.send(Order::Renew(key, reply)).await;
    }

    fn keep_state(&self) {
        if let Err(error) = self.store.keep_state(&self.state) {
            tracing::error!("the state is not kept: {error:#}");
        }
    }

    /// Whatever port it got, it asks for again: peers and NATs know it.
    async fn keep_port(&mut self) {
        self.state.settings.port = self.node.lock().await.port();
        self.keep_state();
    }

    async fn status(&self) -> Status {
        let mut status = Status {
            control: self.state.settings.control.clone(),
            interface: self.interface_name.clone(),
            endpoints: self.endpoints.clone(),
            relay: self.relays.home(),
            generation: self.interface.generation.0,
            routes: self.interface.applied.routes.iter().map(ToString::to_string).collect(),
            refused_routes: self.interface.applied.refused.clone(),
            warnings: self.warnings(),
            resolver: self.names.address(),
            ..Status::default()
        };
        let (state, reason) = match self.standing.borrow().clone() {
            Link::Connecting => ("connecting", None),
            Link::Connected => ("connected", None),
            Link::Pending => ("pending", Some("an operator has to approve it".to_owned())),
            Link::Offline(reason) => ("offline", Some(reason)),
            Link::Revoked(reason) => ("revoked", Some(reason)),
        };
        (status.state, status.reason) = (state.to_owned(), reason);
        if let Some(identity) = &self.state.identity {
            status.key = identity.key.public_key().to_string();
        }
        let Some(netmap) = &self.netmap else { return status };
        status.name.clone_from(&netmap.me.name);
        status.node = netmap.me.id.to_string();
        status.network.clone_from(&netmap.network.name);
        status.domain.clone_from(&netmap.dns.domain);
        status.addresses.clone_from(&netmap.me.addresses);
        status.revision = netmap.revision;
        status.rotates = netmap.me.rotate.map(|at| at.0);
        status.expires = netmap.me.expires.map(|at| at.0);
        status.peers = self.peer_statuses(netmap).await;
        status
    }

    fn warnings(&self) -> Vec<String> {
        self.interface.warnings.iter().cloned().chain(self.names.trouble()).collect()
    }

    async fn peer_statuses(&self, netmap: &Netmap) -> Vec<PeerStatus> {
        let known = self.node.lock().await.peers().await.unwrap_or_default();
        let known: HashMap<_, _> = known.iter().map(|peer| (peer.public_key, peer)).collect();
        let now = clock::now();
        let region = |id: RegionId| {
            netmap.regions.iter().find(|region| region.id == id).map(|r| r.name.clone())
        };
        let peer = |peer: &proto::control::Peer| {
            let seen = known.get(&peer.key).or_else(|| known.get(peer.next_key.as_ref()?));
            let endpoint = seen.and_then(|seen| seen.endpoint).map(|endpoint| endpoint.address);
            let relayed = self.numbers.get(&peer.id).map(|number| self.relays.address(*number));
            let alive = seen.is_some_and(|seen| seen.last_handshake.is_some());
            let path = match endpoint {
                Some(_) if !alive => "none",
                Some(endpoint) if Some(endpoint) == relayed => "relay",
                Some(_) => "direct",
                None => "none",
            };
            let since = |at: Timestamp| (now - at).as_secs();
            PeerStatus {
                name: peer.name.clone(),
                node: peer.id.to_string(),
                addresses: peer.addresses.clone(),
                routes: peer.routes.iter().map(ToString::to_string).collect(),
                key: peer.key.to_string(),
                online: peer.online,
                path: path.to_owned(),
                endpoint: endpoint.filter(|_| path == "direct"),
                relay: peer.home.or(self.home).and_then(region),
                handshake: seen.and_then(|seen| seen.last_handshake).map(since),
                rtt_ms: seen
                    .and_then(|seen| seen.handshake_time)
                    .map(|time| time.as_secs_f64() * 1000.0),
                sent: seen.map_or(0, |seen| seen.tx_bytes),
                received: seen.map_or(0, |seen| seen.rx_bytes),
            }
        };
        let mut peers: Vec<_> = netmap.peers.values().map(peer).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }
}

async fn moved(changes: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
