//! Which nodes have to know of each other.

use std::collections::BTreeSet;

use super::{Grant, Plan, roster::Slot};
use crate::{Action, AddressSet, NodeName, ProtocolPorts, difference::without};

/// A grant between two nodes, narrowed to their parts of it.
struct Between<'a> {
    from: &'a AddressSet,
    to: &'a AddressSet,
    services: &'a [ProtocolPorts],
}

impl Plan {
    /// The nodes to which this one may open a flow, or which may open one to it, its own and those
    /// to the networks behind it. A deny that leaves nothing between two nodes parts them; several
    /// that only together leave nothing may not.
    pub fn neighbours(&self, name: &NodeName) -> impl Iterator<Item = &NodeName> {
        let found = self.roster.slot(name).map(|slot| self.neighbours_of(slot));
        let named = |slot| Some(&self.roster.seat(slot)?.node.name);
        found.into_iter().flatten().filter_map(named)
    }

    fn neighbours_of(&self, slot: Slot) -> BTreeSet<Slot> {
        let mut found = BTreeSet::new();
        let mut denied = BTreeSet::new();
        for (party, _) in self.parties.touching(slot) {
            for (grant, is_source) in self.parties.grants(*party) {
                let Some(grant) = self.grant(*grant) else { continue };
                let other = if *is_source { grant.destinations } else { grant.sources };
                let slots = match grant.action {
                    Action::Accept => &mut found,
                    Action::Deny => &mut denied,
                };
                slots.extend(self.parties.touched(other));
            }
        }
        found.remove(&slot);
        for other in denied {
            if found.contains(&other)
                && !self.something_is_left(slot, other)
                && !self.something_is_left(other, slot)
            {
                found.remove(&other);
            }
        }
        found
    }

    /// Whether one node may open any flow to the other.
    fn something_is_left(&self, from: Slot, to: Slot) -> bool {
        let denies: Vec<Between<'_>> = self.between(from, to, Action::Deny).collect();
        self.between(from, to, Action::Accept).any(|accept| {
            let covers = |deny: &&Between<'_>| {
                includes(deny.from, accept.from) && includes(deny.to, accept.to)
            };
            let left = denies.iter().filter(covers).fold(accept.services.to_vec(), |left, deny| {
                let mut denied = deny.services.to_vec();
                denied.sort_unstable();
                without(&left, &denied)
            });
            !left.is_empty()
        })
    }

    fn between(&self, from: Slot, to: Slot, action: Action) -> impl Iterator<Item = Between<'_>> {
        let grants = self.parties.touching(from).flat_map(move |(party, part)| {
            let grants = self.parties.grants(*party).iter();
            grants.filter(|(_, is_source)| *is_source).map(move |(id, _)| (*id, part))
        });
        grants.filter_map(move |(id, part)| {
            let grant: &Grant = self.grant(id).filter(|grant| grant.action == action)?;
            let (_, to) =
                self.parties.touching(to).find(|(party, _)| **party == grant.destinations)?;
            let services = self.services.lists.get(grant.services as usize)?;
            Some(Between { from: part, to, services })
        })
    }
}

/// Whether each prefix of `inner` lies within one of `outer`.
fn includes(outer: &AddressSet, inner: &AddressSet) -> bool {
    let within = |prefix: &crate::Prefix| {
        outer
            .prefixes()
            .iter()
            .any(|other| other.length() <= prefix.length() && other.contains(prefix.address()))
    };
    inner.prefixes().iter().all(within)
}
