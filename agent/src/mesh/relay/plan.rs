//! What there is to be connected to, and for whom.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proto::control::{NodeId, Region, RegionId, Relay};
use proto::key::PublicKey;
use proto::ticket::SignedTicket;
use serde::{Deserialize, Serialize};

use super::port::PeerNumber;
use crate::mesh::nat64::Prefix;
use crate::mesh::secret::Secret;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) regions: Vec<Region>,
    /// By which this host reaches what relays name of IPv4.
    pub(crate) nat64: Option<Prefix>,
    /// The peers that relay for this node, each with the places where it may be found.
    pub(crate) peer_relays: BTreeMap<NodeId, Vec<Relay>>,
    pub(crate) home: Option<RegionId>,
    /// By which keys the node is served, the one to send by first.
    pub(crate) tickets: Vec<(PublicKey, SignedTicket)>,
    pub(crate) identity: Option<Secret>,
    pub(crate) peers: BTreeMap<PeerNumber, RelayPeer>,
    /// Numbers of ways by peers that relay: to whom, and by whom.
    pub(crate) ways: BTreeMap<PeerNumber, Way>,
    /// The WireGuard port of this node.
    pub(crate) engine: u16,
    /// The host's own addresses: when they change, lanes are bound anew.
    pub(crate) local: Vec<IpNet>,
}

impl Plan {
    /// Whether no packets of a peer may go by regions' relays, though some may by peers that relay.
    pub(super) fn calls_only(&self, peer: PeerNumber) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.calls_only)
    }

    /// The relays of a place.
    pub(super) fn relays(&self, place: Place) -> Option<&[Relay]> {
        match place {
            Place::Region(id) => {
                let region = self.regions.iter().find(|region| region.id == id)?;
                Some(&region.relays)
            }
            Place::Peer(id) => self.peer_relays.get(&id).map(Vec::as_slice),
        }
    }

    /// Where those who are at home in a region are while it does not serve: the next one in the network's list
    /// that has relays. Every node knows that without being told.
    pub(super) fn stand_in(&self, of: RegionId) -> Option<RegionId> {
        let at = self.regions.iter().position(|region| region.id == of)?;
        let (before, after) = self.regions.split_at(at);
        let others = after.iter().skip(1).chain(before);
        others.filter(|region| !region.relays.is_empty()).map(|region| region.id).next()
    }
}

/// Relays of which one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Those of a region.
    Region(RegionId),
    /// A peer that relays, wherever it is found.
    Peer(NodeId),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Region(id) => write!(f, "region {}", id.0),
            Self::Peer(id) => write!(f, "the peer {id}"),
        }
    }
}

/// A way by a peer that relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) to: PeerNumber,
    pub(crate) by: NodeId,
}

/// A peer, as relays know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayPeer {
    /// Its key, then others that mean it too.
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) home: Option<RegionId>,
    /// Its packets may go by peers that relay and not by regions' relays: calls by these tell that there are
    /// some.
    pub(crate) calls_only: bool,
}

/// How the node stands with the relays of its home region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) home: Option<RelayHome>,
    /// Why none serves it, as the last one that was tried says.
    pub(super) trouble: Option<String>,
}

/// Where the node is at home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelayHome {
    pub(crate) region: u16,
    pub(crate) relay: String,
    /// What carries the connection: `QUIC` or `TLS`.
    pub(crate) carrier: String,
}
