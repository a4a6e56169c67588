//! What the node is to relays: its home, its peers' numbers there, and the plan of the relays' task.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{Netmap, NodeId, Region, RegionId};
use proto::key::PublicKey;

use super::keys::KeyRing;
use super::relay::{PeerNumber, Plan, RelayHome, RelayPeer, Relays};

/// How long a home may take to serve before another is chosen: peers hear of the first at once and send
/// there, so that one which moves while they do loses their packets.
const PATIENCE: Duration = Duration::from_secs(5);
/// Homes in a row that did not serve, after which the next has no more time than the one before.
const MOST_FAILED: u32 = 4;

/// See the module.
pub(super) struct Links {
    relays: Relays,
    region: Option<RegionId>,
    /// When it was chosen.
    since: Timestamp,
    /// How many before it did not serve.
    failed: u32,
    numbers: BTreeMap<NodeId, PeerNumber>,
    /// The key of each peer, and the one before: by a relay of another region it may still send as that.
    keys: BTreeMap<NodeId, (PublicKey, Option<PublicKey>)>,
}

impl Links {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            relays: Relays::start()?,
            region: None,
            since: Timestamp::default(),
            failed: 0,
            numbers: BTreeMap::new(),
            keys: BTreeMap::new(),
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
        self.keys.remove(peer);
    }

    /// Lets go of all relays.
    pub(super) fn cut(&self) {
        self.relays.set(Plan::default());
    }

    /// Chooses where to be at home; whether that is another region. A home that serves, or may soon, is
    /// kept; `nearest` but the one that is left is the next.
    pub(super) fn choose_home(
        &mut self,
        netmap: &Netmap,
        nearest: impl FnOnce(Option<RegionId>) -> Option<RegionId>,
        now: Timestamp,
    ) -> bool {
        let exists = |id: &RegionId| netmap.regions.iter().any(|region| region.id == *id);
        let left = self.region.filter(exists);
        let serves = self.relays.home().is_some();
        if serves {
            self.failed = 0;
        }
        // Where none serves, all nodes would else tell of another home every few seconds.
        let patience = PATIENCE * 2u32.pow(self.failed.min(MOST_FAILED));
        if left.is_some() && (serves || now - self.since < patience) {
            return false;
        }
        let region = next_home(&netmap.regions, left, nearest(left));
        if region == self.region {
            return false;
        }
        self.failed = if left.is_some() { self.failed.saturating_add(1) } else { 0 };
        (self.region, self.since) = (region, now);
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
            let (current, former) = self.keys.entry(peer.id).or_insert((peer.key, None));
            if *current != peer.key {
                *former = Some(std::mem::replace(current, peer.key));
            }
            let keys = [Some(peer.key), peer.next_key, *former].into_iter().flatten().collect();
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

/// The nearest region; while that is not known, the one behind that which was left, and at first the
/// first.
fn next_home(
    regions: &[Region],
    left: Option<RegionId>,
    nearest: Option<RegionId>,
) -> Option<RegionId> {
    let regions: Vec<_> =
        regions.iter().filter(|region| !region.relays.is_empty()).map(|region| region.id).collect();
    nearest.filter(|id| regions.contains(id)).or_else(|| {
        let place = regions.iter().position(|id| Some(*id) == left);
        let next = place.and_then(|place| regions.get(place + 1));
        next.or(regions.first()).copied()
    })
}

#[cfg(test)]
mod tests {
    use proto::control::Relay;

    use super::*;

    fn region(id: u16, relays: usize) -> Region {
        let relay = Relay {
            host: "relay.test".to_owned(),
            addresses: Vec::new(),
            tls_port: 443,
            quic_port: Some(443),
            certificates: Vec::new(),
        };
        Region { id: RegionId(id), name: String::new(), relays: vec![relay; relays] }
    }

    #[test]
    fn a_home_that_does_not_serve_is_left_for_another_whatever_is_known() {
        let regions = [region(1, 1), region(2, 0), region(3, 1)];
        let next = |left: Option<u16>, nearest: Option<u16>| {
            next_home(&regions, left.map(RegionId), nearest.map(RegionId)).map(|id| id.0)
        };
        assert_eq!(next(None, None), Some(1));
        assert_eq!(next(None, Some(3)), Some(3));
        assert_eq!(next(Some(1), None), Some(3));
        assert_eq!(next(Some(3), None), Some(1));
        assert_eq!(next(Some(3), Some(1)), Some(1));
        // One that is gone, and one without relays.
        assert_eq!(next(Some(1), Some(9)), Some(3));
        assert_eq!(next(Some(1), Some(2)), Some(3));
        assert_eq!(next_home(&regions[..1], Some(RegionId(1)), None), Some(RegionId(1)));
        assert_eq!(next_home(&regions[1..2], None, None), None);
    }
}
