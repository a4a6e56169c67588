//! What the node is to relays: its home, its peers' numbers there, and the plan of the relays' task.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{Netmap, NodeId, RegionId};

use super::keys::KeyRing;
use super::relay::{PeerNumber, Plan, RelayHome, RelayPeer, Relays};

/// How long a home may take to serve before another is chosen: peers hear of the first at once and send
/// there, so that one which moves while they do loses their packets.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Links {
    relays: Relays,
    region: Option<RegionId>,
    /// When it was chosen.
    since: Timestamp,
    numbers: BTreeMap<NodeId, PeerNumber>,
}

impl Links {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            relays: Relays::start()?,
            region: None,
            since: Timestamp::default(),
            numbers: BTreeMap::new(),
        })
    }

    /// The region where the node is at home, or wants to be.
    pub(super) const fn region(&self) -> Option<RegionId> {
        self.region
    }

    /// The relay that serves it.
    pub(super) fn home(&self) -> Option<RelayHome> {
        self.relays.home()
    }

    /// Where the engine sends packets for a peer.
    pub(super) fn address(&self, peer: &NodeId) -> Option<SocketAddr> {
        self.numbers.get(peer).map(|number| self.relays.address(*number))
    }

    /// Waits for a peer that has relayed packets: where the engine sends them.
    pub(super) async fn busy(&mut self) -> Option<SocketAddr> {
        self.relays.busy().await
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.numbers.remove(peer);
    }

    /// Lets go of all relays.
    pub(super) fn cut(&self) {
        self.relays.set(Plan::default());
    }

    /// The nearest region, or the first while that is not known; whether that is another. A home that
    /// serves, or may soon, is kept.
    pub(super) fn choose_home(
        &mut self,
        netmap: &Netmap,
        nearest: Option<RegionId>,
        now: Timestamp,
    ) -> bool {
        let exists = |id: &RegionId| netmap.regions.iter().any(|region| region.id == *id);
        let serves = self.relays.home().is_some() || now - self.since < PATIENCE;
        if self.region.as_ref().is_some_and(exists) && serves {
            return false;
        }
        let first = netmap.regions.iter().find(|region| !region.relays.is_empty());
        let region = nearest.filter(exists).or_else(|| first.map(|region| region.id));
        let before = std::mem::replace(&mut self.region, region);
        if before == self.region {
            return false;
        }
        self.since = now;
        true
    }

    /// By what packets to a peer left for its relay the last time.
    pub(super) fn way(&self, peer: &NodeId) -> Option<&'static str> {
        self.relays.way(*self.numbers.get(peer)?)
    }

    /// Tells the relays' task whom it serves; `engine` is the WireGuard port, `local` the host's own
    /// addresses.
    pub(super) fn plan(&mut self, netmap: &Netmap, keys: &KeyRing, engine: u16, local: &[IpNet]) {
        let Some(identity) = keys.identity() else { return };
        let mut peers = BTreeMap::new();
        let used: BTreeSet<_> = self.numbers.values().copied().collect();
        let mut free = (0..).map(PeerNumber).filter(|number| !used.contains(number));
        for peer in netmap.peers.values() {
            let known = self.numbers.get(&peer.id).copied();
            let Some(number) = known.or_else(|| free.next()) else { continue };
            self.numbers.insert(peer.id, number);
            let keys = [Some(peer.key), peer.next_key].into_iter().flatten().collect();
            peers.insert(number, RelayPeer { keys, home: peer.home });
        }
        self.relays.set(Plan {
            regions: netmap.regions.clone(),
            home: self.region,
            tickets: keys.tickets(netmap),
            identity: Some(identity.node_key.clone()),
            peers,
            engine,
            local: local.to_vec(),
        });
    }
}
