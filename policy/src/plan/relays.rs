//! Which nodes relay for which.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::{Direction, NodeName, RelayGrant, Selector, plan::roster::Slot};

/// Nodes that may have their packets relayed by another by one of two policies only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayChange {
    /// By which.
    pub direction: Direction,
    /// Who relays.
    pub relay: NodeName,
    /// For whom.
    pub clients: Vec<NodeName>,
}

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

    /// The nodes that may relay for both.
    #[must_use]
    pub fn relays_between(&self, one: &NodeName, other: &NodeName) -> Vec<&NodeName> {
        if !self.has_relays() {
            return Vec::new();
        }
        let names = self.nodes().map(|node| &node.name);
        let mut relays: Vec<_> =
            names.filter(|relay| self.relays(relay, one) && self.relays(relay, other)).collect();
        relays.sort();
        relays
    }

    /// Whom nodes may relay for by another plan of the same nodes, and by this one not; and the other way
    /// round.
    #[must_use]
    pub fn relay_changes(&self, new: &Self) -> Vec<RelayChange> {
        let (before, after) = (self.clients(), new.clients());
        let nobody = BTreeSet::new();
        let mut changes = Vec::new();
        for &relay in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let of = |clients: &BTreeMap<_, BTreeSet<_>>| clients.get(relay).cloned();
            let (old, new) = (of(&before), of(&after));
            let (old, new) = (old.as_ref().unwrap_or(&nobody), new.as_ref().unwrap_or(&nobody));
            for (direction, clients) in
                [(Direction::Gained, new.difference(old)), (Direction::Lost, old.difference(new))]
            {
                let clients: Vec<NodeName> = clients.copied().cloned().collect();
                if !clients.is_empty() {
                    changes.push(RelayChange { direction, relay: relay.clone(), clients });
                }
            }
        }
        changes.sort();
        changes
    }

    /// The nodes that relay, each with those for whom.
    fn clients(&self) -> BTreeMap<&NodeName, BTreeSet<&NodeName>> {
        let among = |selectors: &[Selector]| -> Vec<&NodeName> {
            let slots = self.roster.slots().filter(|(slot, _)| self.is_among(*slot, selectors));
            slots.map(|(_, seat)| &seat.node.name).collect()
        };
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for grant in &self.document.relays {
            let clients = among(&grant.sources);
            for relay in among(&grant.relays) {
                let others = clients.iter().copied().filter(|client| *client != relay);
                all.entry(relay).or_default().extend(others);
            }
        }
        all
    }

    /// Whether selectors speak of a node, by any of its addresses.
    fn is_among(&self, slot: Slot, selectors: &[Selector]) -> bool {
        self.roster.seat(slot).is_some_and(|seat| {
            let addresses = &seat.node.addresses;
            addresses.iter().any(|at| self.roster.speaks_of(*at, selectors, &self.document))
        })
    }
}
