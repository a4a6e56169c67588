//! Whether each node's own filter fits into its tables. To compile ten thousand filters takes minutes,
//! so most are found to fit by an estimate from above, made of what many of them share.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher as _,
    rc::Rc,
};

use super::{Grant, Plan, ServiceLists, parties::PartyId, roster::Slot};
use crate::{
    AddressSet, CompileError, Filter, MAX_MEMBERSHIPS, MAX_TABLE_ENTRIES, NodeName, Prefix,
    RuleIndex, compile::Partition,
};

/// A set of no more than so many addresses, and of no prefixes, is counted by its addresses.
const FEW: usize = 64;
/// Larger ones too, the smallest first, as long as they are no more than so many together.
const SOME: usize = 1_024;
/// Into how many more prefixes of ports another claim cuts those that it lies in: each of its two ends
/// one of at most 16 bits.
const CUTS: usize = 32;

/// A node whose filter does not fit into its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The node.
    pub node: NodeName,
    /// Why; a rule is named by its position in the document.
    pub error: CompileError,
}

/// Sets that the filters of many nodes share, divided into disjoint ones.
struct Shared {
    prefixes: usize,
    /// Into how many each was divided.
    parts: HashMap<PartyId, usize>,
    memberships: usize,
}

/// What was worked out for one node and serves the next.
struct Estimates {
    /// Of each party how many addresses it is, if it is nothing else.
    addresses: HashMap<PartyId, Option<usize>>,
    shared: HashMap<Vec<PartyId>, Option<Rc<Shared>>>,
    /// For each list of services, the most entries that it takes between two addresses.
    services: Vec<usize>,
}

impl Plan {
    /// A node whose filter is too large, if there is one. Of many nodes that the same rules concern,
    /// one is compiled, that with the most in them, as long as it takes no more than half of the room.
    #[must_use]
    pub fn unfit(&self) -> Option<Unfit> {
        let mut estimates = Estimates::new(&self.services);
        let mut alike: HashMap<u64, Vec<(usize, usize, Slot)>> = HashMap::new();
        let hasher = RandomState::new();
        for (slot, seat) in self.roster.slots() {
            let most = self.most_entries_of(slot, &mut estimates);
            if most.is_none_or(|most| most > MAX_TABLE_ENTRIES) {
                let rules = hasher.hash_one(self.filter_of(slot).rules());
                let weight = (most.unwrap_or(usize::MAX), seat.node.prefixes().count(), slot);
                alike.entry(rules).or_default().push(weight);
            }
        }
        let mut alike: Vec<_> = alike.into_values().collect();
        alike.iter_mut().for_each(|nodes| nodes.sort_unstable_by(|one, other| other.cmp(one)));
        // The heaviest first: what is too large is found soon.
        alike.sort_unstable_by(|one, other| other.first().cmp(&one.first()));
        alike.iter().find_map(|nodes| {
            for &(_, _, slot) in nodes {
                let filter = self.filter_of(slot);
                match filter.compile() {
                    Ok(tables) if tables.table_entries() <= MAX_TABLE_ENTRIES / 2 => return None,
                    Ok(_) => {}
                    Err(error) => return self.unfit_by(slot, &filter, error),
                }
            }
            None
        })
    }

    fn unfit_by(&self, slot: Slot, filter: &Filter, error: CompileError) -> Option<Unfit> {
        let node = self.roster.seat(slot)?.node.name.clone();
        let error = match error {
            CompileError::TooManyEntries { limit, widest } => {
                let rule = filter.rules[widest.0 as usize];
                let widest = RuleIndex(self.planned(rule).position);
                CompileError::TooManyEntries { limit, widest }
            }
            CompileError::TooManyMemberships { .. } | CompileError::TooManySets => error,
        };
        Some(Unfit { node, error })
    }

    /// The most table entries that the filter of a node may take, estimated from above; nothing if
    /// only compiling tells, or if there is no such node.
    #[must_use]
    pub fn most_table_entries(&self, name: &NodeName) -> Option<usize> {
        self.most_entries_of(self.roster.slot(name)?, &mut Estimates::new(&self.services))
    }

    fn most_entries_of(&self, slot: Slot, estimates: &mut Estimates) -> Option<usize> {
        let own = &self.roster.seat(slot)?.own;
        if !own.prefixes().iter().all(Prefix::is_host) {
            return None;
        }
        let addresses = own.prefixes().len();
        // No rule tells its addresses apart, if each names all of them or none.
        let whole = self.parties.touching(slot).all(|(_, part)| part == own);
        let own_ids = if whole { 1 } else { addresses };
        let mut entries = 0usize;
        for outward in [true, false] {
            let others = || {
                let parties = self.parties.touching(slot);
                let grants = parties.flat_map(|(party, _)| self.parties.grants(*party));
                let grants = grants.filter(|(_, is_source)| *is_source == outward);
                let other = move |grant: &Grant| {
                    let party = if outward { grant.destinations } else { grant.sources };
                    (party, grant.services)
                };
                grants.filter_map(move |(grant, _)| self.grant(*grant).map(other))
            };
            let mut parties: Vec<(usize, PartyId)> = others()
                .map(|(party, _)| (estimates.addresses(party, self.parties.set(party)), party))
                .map(|(addresses, party)| (addresses.unwrap_or(usize::MAX), party))
                .collect();
            parties.sort_unstable();
            parties.dedup();
            let (mut single, mut some, mut large) = (addresses, 0usize, Vec::new());
            for &(size, party) in &parties {
                if size > FEW {
                    some = some.saturating_add(size);
                }
                if size <= FEW || some <= SOME {
                    single += size;
                } else {
                    large.push(party);
                }
            }
            large.sort_unstable();
            let shared = estimates.shared(large, |party| self.parties.set(party))?;
            if shared.memberships + single * (parties.len() + 1) > MAX_MEMBERSHIPS {
                return None;
            }
            entries += shared.prefixes + single;
            for (party, services) in others() {
                // Each single address parts one from those that are otherwise like it.
                let parts = match shared.parts.get(&party) {
                    Some(parts) => parts + single,
                    None => self.parties.set(party).prefixes().len(),
                };
                entries += own_ids * parts * estimates.services[services as usize];
            }
        }
        Some(entries)
    }
}

impl Estimates {
    fn new(services: &ServiceLists) -> Self {
        let most = |range: &crate::ProtocolPorts| match range.ports {
            crate::PortRange::ALL if !crate::has_ports(range.protocol) => 1,
            ports => ports.prefixes().count() + CUTS,
        };
        let services = services.lists.iter().map(|list| list.iter().map(most).sum()).collect();
        Self { addresses: HashMap::new(), shared: HashMap::new(), services }
    }

    fn addresses(&mut self, party: PartyId, set: &AddressSet) -> Option<usize> {
        let all = || set.prefixes().iter().all(Prefix::is_host).then_some(set.prefixes().len());
        *self.addresses.entry(party).or_insert_with(all)
    }

    /// What these sets are divided into; nothing if they overlap too much.
    fn shared<'s>(
        &mut self,
        parties: Vec<PartyId>,
        set: impl Fn(PartyId) -> &'s std::sync::Arc<AddressSet>,
    ) -> Option<Rc<Shared>> {
        let divide = |parties: &Vec<PartyId>| {
            let members: Vec<(u32, &AddressSet)> =
                (0..).zip(parties).map(|(number, party)| (number, &**set(*party))).collect();
            let all = Partition::new(&members, parties.len(), MAX_MEMBERSHIPS).ok()?;
            let parts = parties.iter().zip(&all.sets_of).map(|(party, sets)| (*party, sets.len()));
            let prefixes: usize = members.iter().map(|(_, set)| set.prefixes().len()).sum();
            let (parts, memberships) = (parts.collect(), prefixes * parties.len());
            Some(Rc::new(Shared { prefixes: all.prefixes.len(), parts, memberships }))
        };
        self.shared.entry(parties).or_insert_with_key(divide).clone()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what the node {} has to enforce is too much: {}", self.node, self.error)
    }
}

impl std::error::Error for Unfit {}
