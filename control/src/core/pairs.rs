//! By which kinds of path two nodes of a network may reach each other, and what of each other they hear.

use policy::NodeName;
use proto::control::{NodeId, PathKind, PathKinds};
use serde_json::value::RawValue;

use super::tenant::{Seat, Tenant, Unwritable};

impl Tenant {
    /// By which kinds of path the packets of two nodes may go.
    pub(super) fn path_kinds(&self, id: NodeId, peer: NodeId) -> PathKinds {
        if !self.policy().has_path_rules() {
            return PathKinds::ALL;
        }
        let name = |id: NodeId| NodeName::parse(&id.to_string());
        let kinds = |(one, other)| self.policy().path_kinds(&one, &other);
        name(id).zip(name(peer)).map_or(PathKinds::ALL, kinds)
    }

    /// Whether a node hears of a peer without its endpoints: it may not send there. Where a relay is found
    /// it has to know.
    pub(super) fn hides(&self, id: NodeId, peer: NodeId) -> bool {
        !self.path_kinds(id, peer).has(PathKind::Direct) && !self.relaying(id, peer).serves
    }

    /// What a peer of a node's is to that, as text.
    pub(super) fn heard<'t>(
        &'t self,
        seat: &'t Seat,
        hidden: bool,
    ) -> Result<&'t RawValue, Unwritable> {
        match (hidden, seat.without_endpoints.get()) {
            (false, _) => Ok(&seat.as_peer),
            (true, Some(text)) => Ok(text),
            (true, None) => {
                let mut peer = seat.node.as_peer(self.plan());
                peer.endpoints.clear();
                let text = self.written(&peer)?;
                Ok(seat.without_endpoints.get_or_init(|| text))
            }
        }
    }
}
