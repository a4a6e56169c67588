//! Whom a relay serves that is a node of a network itself: the nodes of that network that its policy names.

use std::collections::HashSet;

use proto::key::PublicKey;
use proto::ticket::NetworkId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The network.
    pub network: NetworkId,
    /// Its nodes, by the keys that tickets are for.
    pub nodes: HashSet<PublicKey>,
}

impl Members {
    pub(super) fn have(&self, network: NetworkId, node: &PublicKey) -> bool {
        self.network == network && self.nodes.contains(node)
    }
}
