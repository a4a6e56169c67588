//! Which way to each peer: the crate `paths` with probes on the WireGuard port around it, and a plain
//! choice for peers whose agents have no probe key.

mod explain;
mod owners;
mod plain;
mod probing;
mod spares;

use std::net::SocketAddr;

use engine::{PathChange, Timestamp, Traffic};
use paths::{Choice, Own};
use proto::control::{NodeId, PathKind, PathKinds};
use proto::key::PublicKey;
use tokio::sync::mpsc;

use crate::io::udp::Length;
use crate::mesh::nat64::Prefix;
use crate::mesh::secret::Secret;
pub(crate) use explain::{PathCounts, PathReport, limited};
pub(crate) use plain::Observed;
use plain::Plain;
use probing::Probing;
pub(crate) use spares::SpareProbe;

/// See the module.
pub(crate) struct MeshPaths {
    plain: Plain,
    probing: Probing,
}

/// A peer, as paths need it.
pub(crate) struct PathPeer {
    pub(crate) id: NodeId,
    pub(crate) key: PublicKey,
    /// What it changes to: the engine may know it by this already.
    pub(crate) next_key: Option<PublicKey>,
    pub(crate) probe_key: Option<PublicKey>,
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Where its relay takes packets.
    pub(crate) relay: Option<SocketAddr>,
    /// By which kinds of path the network's policy lets packets go.
    pub(crate) kinds: PathKinds,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) sends: Vec<(SocketAddr, Vec<u8>, Length)>,
    pub(crate) changes: Vec<(PublicKey, PathChange)>,
    /// Whether a peer's packets go by the relay from now on.
    pub(crate) relayed: bool,
}

impl MeshPaths {
    /// Without peers; `spares` is given what comes on spare sockets.
    pub(crate) fn new(probe_key: &Secret, spares: mpsc::Sender<SpareProbe>) -> Self {
        Self { plain: Plain::default(), probing: Probing::new(probe_key, spares) }
    }

    /// The public half of the node's probe key.
    pub(crate) fn probe_key(&self) -> PublicKey {
        self.probing.public_key()
    }

    /// There is a peer, with these ways to it. Gives what has to be changed at once.
    pub(crate) fn set(&mut self, peer: PathPeer, now: Timestamp) -> Vec<PathChange> {
        let id = peer.id;
        let mut peer = peer;
        if let Some(prefix) = self.probing.nat64 {
            peer.endpoints.iter_mut().for_each(|at| *at = prefix.reach(*at));
        }
        let PathPeer { key, mut endpoints, mut relay, kinds, .. } =
            match self.probing.set(peer, now) {
                Ok(changes) => {
                    self.plain.remove(&id);
                    return changes;
                }
                Err(peer) => *peer,
            };
        let kinds = kinds.and(self.probing.paths.rule().kinds());
        let may_be_direct = kinds.has(PathKind::Direct);
        if !may_be_direct {
            endpoints.clear();
        }
        if !kinds.has(PathKind::Relay) {
            relay = None;
        }
        let mut changes = Vec::from_iter(self.plain.set(id, key, endpoints, relay, now));
        if !may_be_direct {
            // Whatever it is heard from.
            changes.push(relay.map_or(PathChange::Nowhere, PathChange::Hold));
        }
        changes.push(PathChange::Fits(paths::usual_length()));
        changes
    }

    /// Keeps those peers that still are.
    pub(crate) fn retain(
        &mut self,
        is_peer: impl Fn(&NodeId) -> bool,
        now: Timestamp,
    ) -> Vec<NodeId> {
        let known = self.plain.ids().into_iter().chain(self.probing.ids());
        let gone: Vec<_> = known.filter(|id| !is_peer(id)).collect();
        for id in &gone {
            self.plain.remove(id);
            self.probing.remove(id, now);
        }
        gone
    }

    /// This node is reached there.
    pub(crate) fn set_own(&mut self, own: Own, now: Timestamp) {
        self.probing.paths.set_own(own, now);
    }

    /// Our own network is another: everything is tried again.
    pub(crate) fn start_over(&mut self, now: Timestamp) -> Vec<(PublicKey, PathChange)> {
        self.probing.paths.start_over(now);
        self.plain.start_over(now)
    }

    /// Whether there are peers of older agents.
    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.ids().is_empty()
    }

    /// Looks at all peers of older agents.
    pub(crate) fn tick(
        &mut self,
        observed: impl Fn(&PublicKey) -> Option<Observed>,
        now: Timestamp,
    ) -> Vec<(PublicKey, PathChange)> {
        self.plain.tick(observed, now)
    }

    /// There are packets for or from the peer that a relay has at this address.
    pub(crate) fn relayed(&mut self, relay: SocketAddr, now: Timestamp) {
        self.probing.relayed(relay, now);
    }

    /// By these addresses packets for a peer reach others that relay now.
    pub(crate) fn set_relays(&mut self, id: NodeId, by: &[SocketAddr], now: Timestamp) {
        self.probing.set_relays(id, by, now);
    }

    /// Takes what the engine has counted lately.
    pub(crate) fn observe(&mut self, traffic: &[Traffic], now: Timestamp) {
        self.probing.observe(traffic, now);
    }

    /// Takes a probe.
    pub(crate) fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Timestamp) {
        self.probing.take(from, datagram, now);
    }

    /// Takes a probe that came on a spare socket.
    pub(crate) fn take_spare(&mut self, probe: &SpareProbe, now: Timestamp) {
        self.probing.take_spare(probe, now);
    }

    /// Peers' addresses of IPv4 are reached by this prefix from now on.
    pub(crate) const fn set_nat64(&mut self, prefix: Option<Prefix>) {
        self.probing.nat64 = prefix;
    }

    /// The WireGuard port is this.
    pub(crate) const fn set_port(&mut self, port: u16) {
        self.probing.spares.engine = port;
    }

    /// Whether packets of some peer find no way before one is looked for.
    pub(crate) fn begins_nowhere(&self) -> bool {
        self.probing.begins_nowhere()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.probing.paths.poll_timeout().map(|(at, _)| at)
    }

    /// Whether a peer has traffic, or had some a moment ago: by what is known, or by its pings.
    pub(crate) fn is_awake(&self, now: Timestamp) -> bool {
        self.poll_timeout().is_some() || self.probing.was_pinged(now)
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.probing.paths.handle_timeout(now);
    }

    /// What is to be done now.
    pub(crate) fn steps(&mut self) -> Steps {
        self.probing.steps()
    }

    /// What is used for a peer; nothing for one of an older agent.
    pub(crate) fn choice(&self, id: &NodeId) -> Option<Choice> {
        self.probing.paths.choice(id)
    }

    /// Why; nothing for a peer of an older agent.
    /// `relay_at` names the peer that relays what is sent to an address.
    pub(crate) fn explain(
        &self,
        id: &NodeId,
        relay_at: impl Fn(SocketAddr) -> Option<String>,
        now: Timestamp,
    ) -> Option<PathReport> {
        let explained = self.probing.paths.explain(id, now)?;
        Some(PathReport::new(&explained, relay_at))
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> PathCounts {
        PathCounts::new(self.probing.paths.counters(), &self.probing.refusals)
    }
}
