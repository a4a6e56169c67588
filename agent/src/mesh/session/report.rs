//! What a node that is up says of itself and its peers.

use std::collections::HashMap;

use engine::Timestamp;
use paths::{Allowed, Choice};
use proto::control::{Netmap, NodeId, Peer, RegionId};
use tokio::sync::oneshot;

use super::{Link, Mesh, client};
use crate::io::clock;
use crate::mesh::PathReport;
use crate::mesh::netcheck::{Checks, NetReport};
use crate::mesh::paths::limited;
use crate::mesh::status::{PeerStatus, Status};

/// What a peer is called.
fn name_of(netmap: &Netmap, id: NodeId) -> String {
    netmap.peers.get(&id).map_or_else(|| id.to_string(), |peer| peer.name.clone())
}

impl Mesh {
    pub(super) async fn status(&self) -> Status {
        let mut status = Status {
            control: self.keys.settings().control.clone(),
            interface: self.interface_name.clone(),
            endpoints: self.whereabouts.endpoints().to_vec(),
            relay: self.links.home(),
            generation: self.interface.generation.0,
            routes: self.interface.applied.routes.iter().map(ToString::to_string).collect(),
            refused_routes: self.interface.applied.refused.clone(),
            warnings: self.warnings(),
            flows: self.flows.counts,
            paths: self.paths.counts(),
            mapping: self.mapping_report(),
            resolver: self.names.address(),
            peer_relay: self.peer_relay.status(),
            ..Status::default()
        };
        if let Ok((drops, _)) = self.node.lock().await.counters().await {
            status.drops =
                drops.iter().map(|(reason, packets)| (reason.label().into(), packets)).collect();
        }
        let (state, reason) = match self.standing.borrow().clone() {
            Link::Connecting => ("connecting", None),
            Link::Connected => ("connected", None),
            Link::Pending => ("pending", Some("an operator has to approve it".to_owned())),
            Link::Offline(reason) => ("offline", Some(reason)),
            Link::Revoked(reason) => ("revoked", Some(reason)),
        };
        (status.state, status.reason) = (state.to_owned(), reason);
        if let Some(identity) = self.keys.identity() {
            status.key = identity.key.public_key().to_string();
        }
        let Some(netmap) = self.netmap.get() else { return status };
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

    /// Finds out what is not known of the network, beside everything else.
    pub(super) fn check_network(&mut self, reply: oneshot::Sender<NetReport>) {
        let netmap = self.netmap.get();
        let mut report =
            NetReport::new(&self.whereabouts, netmap, self.mapping_report(), clock::now());
        report.nat64 = self.nat64.prefix.map(|prefix| prefix.to_string());
        let away = match self.standing.borrow().clone() {
            Link::Connected | Link::Pending => None,
            Link::Connecting => Some("it has not answered yet".to_owned()),
            Link::Offline(reason) | Link::Revoked(reason) => Some(reason),
        };
        let control = client(self.keys.settings()).ok();
        let host = control.and_then(|control| control.server().map(|(host, _)| host.to_owned()));
        let two_addresses = self.whereabouts.with_second(clock::now());
        let checks = Checks::new(report, netmap, away, host, two_addresses, &mut self.awaited);
        let node = self.node.clone();
        // Who has asked may be gone.
        tokio::spawn(async move { reply.send(checks.run(node).await) });
    }

    pub(super) fn explain(&self, node: &NodeId) -> Option<PathReport> {
        let netmap = self.netmap.get()?;
        let relay_at = |at| self.links.relay_at(node, at).map(|by| name_of(netmap, by));
        self.paths.explain(node, relay_at, clock::now())
    }

    fn warnings(&self) -> Vec<String> {
        let of_interface = self.interface.warnings.iter().cloned();
        of_interface.chain(self.names.trouble()).chain(self.links.trouble()).collect()
    }

    async fn peer_statuses(&self, netmap: &Netmap) -> Vec<PeerStatus> {
        let known = self.node.lock().await.peers().await.unwrap_or_default();
        let known: HashMap<_, _> = known.iter().map(|peer| (peer.public_key, peer)).collect();
        let now = clock::now();
        let region = |id: RegionId| {
            netmap.regions.iter().find(|region| region.id == id).map(|r| r.name.clone())
        };
        let peer = |peer: &Peer| {
            let seen = known.get(&peer.key).or_else(|| known.get(peer.next_key.as_ref()?));
            let endpoint = seen.and_then(|seen| seen.endpoint).map(|endpoint| endpoint.address);
            let way = self.links.way(&peer.id);
            let relayed = self.links.address(&peer.id);
            let alive = seen.is_some_and(|seen| seen.last_handshake.is_some());
            let choice = self.paths.choice(&peer.id);
            let by = endpoint.and_then(|at| self.links.relay_at(&peer.id, at));
            let path = match endpoint {
                Some(_) if !alive => "none",
                Some(endpoint) if Some(endpoint) == relayed => "relay",
                Some(_) if by.is_some() => "peer-relay",
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
                limited: limited(Allowed {
                    policy: netmap.path_kinds(&peer.id),
                    own: self.keys.settings().path,
                }),
                endpoint: choice
                    .and_then(Choice::route)
                    .map_or(endpoint, |route| Some(route.to))
                    .filter(|_| path == "direct"),
                peer_relay: by.filter(|_| path == "peer-relay").map(|by| name_of(netmap, by)),
                carrier: way.filter(|_| path == "relay").map(str::to_owned),
                relay: peer.home.or(self.links.region()).and_then(region),
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
