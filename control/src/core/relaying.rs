//! Which nodes of a network relay for which: those that offer it, as far as the policy grants it.

use std::collections::BTreeSet;

use policy::NodeName;
use proto::control::{NodeId, Relaying};

use super::tenant::Tenant;

impl Tenant {
    /// What two nodes are to each other, as `id` sees it.
    pub(super) fn relaying(&self, id: NodeId, peer: NodeId) -> Relaying {
        Relaying { peer, serves: self.relays(peer, id), served: self.relays(id, peer) }
    }

    /// The nodes that may relay for this one, and those for which it may.
    pub(super) fn relay_partners(&self, id: NodeId) -> Vec<NodeId> {
        if self.offering().is_empty() || !self.policy().has_relays() {
            return Vec::new();
        }
        let serving = self.offering().iter().copied().filter(|relay| self.relays(*relay, id));
        serving.chain(self.served_by(id)).collect()
    }

    /// Every relay with each of its clients.
    pub(super) fn relay_pairs(&self) -> BTreeSet<(NodeId, NodeId)> {
        let of = |relay: &NodeId| {
            let relay = *relay;
            self.served_by(relay).into_iter().map(move |client| (relay, client))
        };
        self.offering().iter().flat_map(of).collect()
    }

    fn served_by(&self, relay: NodeId) -> Vec<NodeId> {
        if !self.offering().contains(&relay) || !self.policy().has_relays() {
            return Vec::new();
        }
        self.nodes().map(|node| node.id).filter(|client| self.relays(relay, *client)).collect()
    }

    fn relays(&self, relay: NodeId, client: NodeId) -> bool {
        let name = |id: NodeId| NodeName::parse(&id.to_string());
        self.offering().contains(&relay)
            && name(relay)
                .zip(name(client))
                .is_some_and(|(relay, client)| self.policy().relays(&relay, &client))
    }
}
