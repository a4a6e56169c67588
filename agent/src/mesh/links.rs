//! What the node is to relays: its home, its peers' numbers there, and the plan of the relays' task.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{Netmap, NodeId, RegionId};
use proto::key::PublicKey;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use super::home::Home;
use super::keys::KeyRing;
use super::nat64::Prefix;
use super::relay::{PeerNumber, Plan, RelayHome, RelayPeer, Relays};

/// See the module.
pub(super) struct Links {
    relays: Relays,
    home: Home,
    numbers: BTreeMap<NodeId, PeerNumber>,
    /// The key of each peer, and the one before: by a relay of another region it may still send as that.
    keys: BTreeMap<NodeId, (PublicKey, Option<PublicKey>)>,
}

impl Links {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            relays: Relays::start()?,
            home: Home::new(
                f64::from(OsRng.try_next_u32().unwrap_or_default()) / f64::from(u32::MAX),
            ),
            numbers: BTreeMap::new(),
            keys: BTreeMap::new(),
        })
    }

    /// The region where the node is at home, or wants to be.
    pub(super) const fn region(&self) -> Option<RegionId> {
        self.home.region()
    }

    /// The relay that serves it.
    pub(super) fn home(&self) -> Option<RelayHome> {
        self.relays.home()
    }

    /// Why no relay serves the node, if none does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.relays.trouble()
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
        self.keys.remove(peer);
    }

    /// Lets go of all relays.
    pub(super) fn cut(&self) {
        self.relays.set(Plan::default());
    }

    /// Looks which region is to be home, by how far they are; whether that is another.
    pub(super) fn choose_home(
        &mut self,
        netmap: &Netmap,
        distance: impl Fn(RegionId) -> Option<Duration>,
        now: Timestamp,
    ) -> bool {
        let serves = self.relays.home().is_some();
        self.home.choose(&netmap.regions, distance, serves, now)
    }

    /// By what packets to a peer left for its relay the last time.
    pub(super) fn way(&self, peer: &NodeId) -> Option<&'static str> {
        self.relays.way(*self.numbers.get(peer)?)
    }

    /// Tells the relays' task whom it serves; `nat64` is how the host reaches IPv4 without
    /// having it, `engine` the WireGuard port, `local` the host's own addresses.
    pub(super) fn plan(
        &mut self,
        netmap: &Netmap,
        nat64: Option<Prefix>,
        keys: &KeyRing,
        engine: u16,
        local: &[IpNet],
    ) {
        let Some(identity) = keys.identity() else { return };
        let mut peers = BTreeMap::new();
        let used: BTreeSet<_> = self.numbers.values().copied().collect();
        let mut free = (0..).map(PeerNumber).filter(|number| !used.contains(number));
        for peer in netmap.peers.values() {
            let known = self.numbers.get(&peer.id).copied();
            let Some(number) = known.or_else(|| free.next()) else { continue };
            self.numbers.insert(peer.id, number);
            let (current, former) = self.keys.entry(peer.id).or_insert((peer.key, None));
            if *current != peer.key {
                *former = Some(std::mem::replace(current, peer.key));
            }
            let keys = [Some(peer.key), peer.next_key, *former].into_iter().flatten().collect();
            peers.insert(number, RelayPeer { keys, home: peer.home });
        }
        self.relays.set(Plan {
            regions: nat64
                .map_or_else(|| netmap.regions.clone(), |prefix| prefix.regions(&netmap.regions)),
            nat64,
            home: self.home.region(),
            tickets: keys.tickets(netmap),
            identity: Some(identity.node_key.clone()),
            peers,
            engine,
            local: local.to_vec(),
        });
    }
}
