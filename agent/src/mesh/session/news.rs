//! What the control plane says, made true on this host.

use engine::PathChange;
use proto::control::{Netmap, Report, Standing};
use proto::key::PublicKey;

use super::{Link, Mesh};
use crate::io::clock;
use crate::mesh::control::Event;
use crate::mesh::paths::PathPeer;

impl Mesh {
    pub(super) async fn hear(&mut self, event: Event) {
        match event {
            Event::Connected => {
                tracing::info!(control = self.keys.settings().control, "connected");
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
            Event::NodeKey(key) => {
                self.keys.renewed(key);
                self.plan_links().await;
            }
            Event::NotRenewed(reason) => tracing::warn!("the node key is not renewed: {reason}"),
            Event::Revoked(reason) => {
                tracing::warn!("this node is in the network no more: {reason}");
                self.connected = false;
                self.interface.cut().await;
                self.netmap.forget();
                self.links.cut();
                self.peer_relay.cut();
                self.standing.send_replace(Link::Revoked(reason));
            }
            Event::Lost(reason) => {
                self.connected = false;
                tracing::warn!("the control plane is away, the last netmap is used: {reason}");
                if !matches!(*self.standing.borrow(), Link::Revoked(_)) {
                    self.standing.send_replace(Link::Offline(reason));
                }
                self.interface.refresh(self.keys.settings()).await;
            }
        }
    }

    fn say_standing(&self) {
        let standing = self.netmap.get().map(|netmap| netmap.me.standing);
        self.standing.send_replace(match standing {
            None => Link::Connecting,
            Some(Standing::Pending) => Link::Pending,
            Some(Standing::Approved) => Link::Connected,
        });
    }

    /// Makes a netmap true.
    pub(super) async fn adopt(&mut self, netmap: Netmap) {
        self.interface.apply(&netmap, self.keys.settings()).await;
        self.names.update(&netmap).await;
        self.flows.want(netmap.network.flow_logs);
        self.peer_relay.adopt(&netmap);
        self.netmap.set(netmap);
        self.choose_home();
        self.plan_links().await;
        self.ask_relays().await;
        self.set_paths().await;
        if self.connected {
            self.say_standing();
            self.turn_keys().await;
            let (applied, home) = (self.applied(), self.links.region());
            self.report(Report { applied, home, ..Report::default() }).await;
        }
    }

    pub(super) async fn set_paths(&mut self) {
        let now = clock::now();
        let mut changes = Vec::new();
        let applied = &self.interface.applied.peers;
        for gone in self.paths.retain(|id| applied.contains_key(id), now) {
            self.links.forget(&gone);
        }
        self.tell_paths();
        let Some(netmap) = self.netmap.get() else { return };
        let has_relays = netmap.regions.iter().any(|region| !region.relays.is_empty());
        for peer in netmap.peers.values() {
            if !self.interface.applied.peers.contains_key(&peer.id) {
                continue;
            }
            let relay = self.links.address(&peer.id).filter(|_| has_relays);
            let wanted = self.paths.set(
                PathPeer {
                    id: peer.id,
                    key: peer.key,
                    next_key: peer.next_key,
                    probe_key: peer.disco,
                    endpoints: peer.endpoints.clone(),
                    relay,
                    kinds: netmap.path_kinds(&peer.id),
                },
                now,
            );
            changes.extend(wanted.into_iter().map(|change| (peer.key, change)));
        }
        self.change_paths(changes).await;
        self.walk_paths().await;
    }

    pub(super) async fn change_paths(&self, changes: Vec<(PublicKey, PathChange)>) {
        if !changes.is_empty() {
            self.node.lock().await.change_paths(changes);
        }
    }

    pub(super) async fn plan_links(&mut self) {
        let engine = self.node.lock().await.port();
        if let Some(netmap) = self.netmap.get() {
            let local = &self.interface.local.networks;
            self.links.plan(netmap, self.nat64.prefix, &self.keys, engine, local);
        }
    }

    /// Goes to another region if this one does not serve, and says so.
    pub(super) async fn settle_home(&mut self) {
        if self.choose_home() {
            self.plan_links().await;
            self.report(Report { home: self.links.region(), ..Report::default() }).await;
        }
    }

    fn choose_home(&mut self) -> bool {
        let distance = |region| self.whereabouts.distance(region, clock::now());
        self.netmap
            .get()
            .is_some_and(|netmap| self.links.choose_home(netmap, distance, clock::now()))
    }
}
