//! What there is to be connected to, and for whom.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proto::control::{Region, RegionId};
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
    pub(crate) home: Option<RegionId>,
    /// By which keys the node is served, the one to send by first.
    pub(crate) tickets: Vec<(PublicKey, SignedTicket)>,
    pub(crate) identity: Option<Secret>,
    pub(crate) peers: BTreeMap<PeerNumber, RelayPeer>,
    /// The WireGuard port of this node.
    pub(crate) engine: u16,
    /// The host's own addresses: when they change, lanes are bound anew.
    pub(crate) local: Vec<IpNet>,
}

impl Plan {
    /// Where those who are at home in a region are while it does not serve: the next one in the network's list
    /// that has relays. Every node knows that without being told.
    pub(super) fn stand_in(&self, of: RegionId) -> Option<RegionId> {
        let at = self.regions.iter().position(|region| region.id == of)?;
        let (before, after) = self.regions.split_at(at);
        let others = after.iter().skip(1).chain(before);
        others.filter(|region| !region.relays.is_empty()).map(|region| region.id).next()
    }
}

/// A peer, as relays know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayPeer {
    /// Its key, then others that mean it too.
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) home: Option<RegionId>,
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
