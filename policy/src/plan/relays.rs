//! Which nodes relay for which.

use super::Plan;
use crate::{NodeName, RelayGrant, Selector, plan::roster::Slot};

impl Plan {
    /// Whether any node may relay.
    #[must_use]
    pub fn has_relays(&self) -> bool {
        !self.document.relays.is_empty()
    }

    /// Whether a node may have its packets relayed by another. Nobody is its own relay.
    #[must_use]
    pub fn relays(&self, relay: &NodeName, client: &NodeName) -> bool {
        let (Some(relay), Some(client)) = (self.roster.slot(relay), self.roster.slot(client))
        else {
            return false;
        };
        let grants = |grant: &RelayGrant| {
            self.is_among(relay, &grant.relays) && self.is_among(client, &grant.sources)
        };
        relay != client && self.document.relays.iter().any(grants)
    }

    /// Whether selectors speak of a node, by any of its addresses.
    fn is_among(&self, slot: Slot, selectors: &[Selector]) -> bool {
        self.roster.seat(slot).is_some_and(|seat| {
            let addresses = &seat.node.addresses;
            addresses.iter().any(|at| self.roster.speaks_of(*at, selectors, &self.document))
        })
    }
}
