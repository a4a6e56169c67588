//! The parties of a plan: who is in them, and which nodes they touch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{
    prefix_index::PrefixIndex,
    roster::{Roster, Slot},
};
use crate::{AddressSet, Document, Prefix, Selector};

/// A party's number; a new one may get that of one that no rule names any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PartyId(pub(super) u32);

/// A grant's number; a new one may get that of one that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GrantId(pub(super) u32);

struct Party {
    selectors: Arc<[Selector]>,
    set: Arc<AddressSet>,
    touched: BTreeSet<Slot>,
    /// The grants that name it, and whether as their source.
    grants: Vec<(GrantId, bool)>,
}

pub(super) struct Parties {
    parties: Vec<Party>,
    free: Vec<PartyId>,
    ids: HashMap<Arc<[Selector]>, PartyId>,
    /// The parties that name a selector whose addresses may change.
    naming: HashMap<Selector, BTreeSet<PartyId>>,
    by_prefix: PrefixIndex,
    /// For each node, the parties that touch it, with its part of their addresses.
    touching: Vec<BTreeMap<PartyId, Arc<AddressSet>>>,
}

/// How a party differs after a change.
pub(super) struct Difference {
    pub(super) party: PartyId,
    /// Whether it has other addresses now.
    pub(super) addresses: bool,
    /// The nodes that it touches otherwise than before.
    pub(super) nodes: Vec<Slot>,
}

/// How nodes differ after a change of one.
pub(super) struct NodeChange {
    /// The addresses that it had or has.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Those, and the networks behind it.
    pub(super) prefixes: BTreeSet<Prefix>,
    /// Its places.
    pub(super) nodes: BTreeSet<Slot>,
}

impl Parties {
    pub(super) fn new() -> Self {
        Self {
            parties: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            naming: HashMap::new(),
            by_prefix: PrefixIndex::new(),
            touching: Vec::new(),
        }
    }

    pub(super) fn set(&self, party: PartyId) -> &Arc<AddressSet> {
        &self.parties[party.0 as usize].set
    }

    pub(super) fn grants(&self, party: PartyId) -> &[(GrantId, bool)] {
        &self.parties[party.0 as usize].grants
    }

    pub(super) fn touched(&self, party: PartyId) -> &BTreeSet<Slot> {
        &self.parties[party.0 as usize].touched
    }

    pub(super) fn touching(
        &self,
        slot: Slot,
    ) -> impl Iterator<Item = (&PartyId, &Arc<AddressSet>)> {
        self.touching.get(slot.0 as usize).into_iter().flatten()
    }

    /// The party of these selectors, made if there is none yet, now with this grant.
    pub(super) fn join(
        &mut self,
        selectors: &Arc<[Selector]>,
        grant: (GrantId, bool),
        document: &Document,
        roster: &Roster,
    ) -> PartyId {
        let id = match self.ids.get(selectors) {
            Some(id) => *id,
            None => self.insert(selectors, document, roster),
        };
        self.parties[id.0 as usize].grants.push(grant);
        id
    }

    fn insert(
        &mut self,
        selectors: &Arc<[Selector]>,
        document: &Document,
        roster: &Roster,
    ) -> PartyId {
        let party = Party {
            selectors: Arc::clone(selectors),
            set: Arc::default(),
            touched: BTreeSet::new(),
            grants: Vec::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.parties[id.0 as usize] = party;
                id
            }
            None => {
                self.parties.push(party);
                PartyId(u32::try_from(self.parties.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.ids.insert(Arc::clone(selectors), id);
        for selector in selectors.iter().flat_map(|selector| changeable(selector, document)) {
            self.naming.entry(selector).or_default().insert(id);
        }
        self.refresh(id, document, roster);
        id
    }

    /// Takes a grant from a party; the last one takes the party with it.
    pub(super) fn leave(&mut self, id: PartyId, grant: GrantId, document: &Document) {
        let party = &mut self.parties[id.0 as usize];
        party.grants.retain(|(other, _)| *other != grant);
        if !party.grants.is_empty() {
            return;
        }
        let selectors = Arc::clone(&party.selectors);
        let set = std::mem::take(&mut party.set);
        for slot in std::mem::take(&mut party.touched) {
            self.touching[slot.0 as usize].remove(&id);
        }
        for prefix in set.prefixes() {
            self.by_prefix.remove(*prefix, id.0);
        }
        for selector in selectors.iter().flat_map(|selector| changeable(selector, document)) {
            if let Some(naming) = self.naming.get_mut(&selector) {
                naming.remove(&id);
            }
        }
        self.ids.remove(&selectors);
        self.free.push(id);
    }

    /// Whether the party is this selector and no other.
    pub(super) fn is_just(&self, party: PartyId, selector: &Selector) -> bool {
        *self.parties[party.0 as usize].selectors == [selector.clone()]
    }

    /// Another document is about to say what the selectors of these parties mean.
    pub(super) fn renamed(&mut self, parties: &BTreeSet<PartyId>, old: &Document, new: &Document) {
        for id in parties {
            let selectors = Arc::clone(&self.parties[id.0 as usize].selectors);
            for selector in selectors.iter().flat_map(|selector| changeable(selector, old)) {
                if let Some(naming) = self.naming.get_mut(&selector) {
                    naming.remove(id);
                }
            }
            for selector in selectors.iter().flat_map(|selector| changeable(selector, new)) {
                self.naming.entry(selector).or_default().insert(*id);
            }
        }
    }

    /// The parties that name one of the selectors.
    pub(super) fn naming<'s>(
        &self,
        selectors: impl IntoIterator<Item = &'s Selector>,
    ) -> BTreeSet<PartyId> {
        selectors.into_iter().filter_map(|s| self.naming.get(s)).flatten().copied().collect()
    }

    /// Above every party's number.
    pub(super) fn count(&self) -> usize {
        self.parties.len()
    }

    /// The parties that hold all of a prefix by one of theirs.
    pub(super) fn over(&self, prefix: Prefix) -> impl Iterator<Item = PartyId> {
        let wider = self.by_prefix.enclosing(prefix).flat_map(|(_, parties)| parties);
        self.by_prefix.at(prefix).iter().chain(wider).copied().map(PartyId)
    }

    /// The parties with an address under, or over, one of the prefixes.
    pub(super) fn overlapping<'p>(
        &self,
        prefixes: impl IntoIterator<Item = &'p Prefix>,
    ) -> BTreeSet<PartyId> {
        let mut found = BTreeSet::new();
        for prefix in prefixes {
            let inner = self.by_prefix.enclosed(*prefix);
            for (_, parties) in inner.chain(self.by_prefix.enclosing(*prefix)) {
                found.extend(parties.iter().copied().map(PartyId));
            }
        }
        found
    }

    /// Works out anew who is in a party and which nodes it touches.
    pub(super) fn refresh(
        &mut self,
        id: PartyId,
        document: &Document,
        roster: &Roster,
    ) -> Difference {
        let party = self.party(id);
        let set = Arc::new(roster.resolve(&party.selectors, document));
        let changes = set.changes(&party.set);
        let mut nodes = roster.on_the_way(&set);
        nodes.extend(&party.touched);
        self.become_set(id, set, changes, nodes, roster)
    }

    /// As [`Parties::refresh`], where just these nodes with these prefixes came, went or are others.
    pub(super) fn follow(
        &mut self,
        id: PartyId,
        change: &NodeChange,
        document: &Document,
        roster: &Roster,
    ) -> Difference {
        let party = self.party(id);
        let mut set = Arc::clone(&party.set);
        for address in &change.addresses {
            let inside = roster.speaks_of(*address, &party.selectors, document);
            if let Some(changed) = set.with(*address, inside) {
                set = Arc::new(changed);
            }
        }
        let changes = set.changes(&party.set);
        let mut nodes = change.nodes.clone();
        // Who has a piece of the set behind it has other pieces now.
        for prefix in changes.0.iter().chain(&changes.1).chain(&change.prefixes) {
            nodes.extend(roster.over(*prefix));
        }
        self.become_set(id, set, changes, nodes, roster)
    }

    /// Gives a party its addresses, from which these prefixes are gone, and in which these are new.
    /// Only these nodes may be touched otherwise than before.
    fn become_set(
        &mut self,
        id: PartyId,
        set: Arc<AddressSet>,
        (gone, new): (Vec<Prefix>, Vec<Prefix>),
        nodes: BTreeSet<Slot>,
        roster: &Roster,
    ) -> Difference {
        let party = &mut self.parties[id.0 as usize];
        for prefix in &gone {
            self.by_prefix.remove(*prefix, id.0);
        }
        for prefix in &new {
            self.by_prefix.insert(*prefix, id.0);
        }
        let addresses = !gone.is_empty() || !new.is_empty();
        if addresses {
            party.set = set;
        }
        let last = nodes.last().map_or(0, |slot| slot.0 as usize + 1);
        if self.touching.len() < last {
            self.touching.resize_with(last, BTreeMap::new);
        }
        let touches = |slot: &Slot| {
            let part = roster.part(*slot, &party.set);
            let touching = &mut self.touching[slot.0 as usize];
            if touching.get(&id) == part.as_ref() {
                return false;
            }
            match part {
                Some(part) => {
                    if touching.insert(id, part).is_none() {
                        party.touched.insert(*slot);
                    }
                }
                None => {
                    touching.remove(&id);
                    party.touched.remove(slot);
                }
            }
            true
        };
        let nodes = nodes.into_iter().filter(touches).collect();
        Difference { party: id, addresses, nodes }
    }

    fn party(&self, id: PartyId) -> &Party {
        &self.parties[id.0 as usize]
    }
}

/// Under which selectors a party is found when their addresses change. A group's change with its
/// users' nodes too.
fn changeable(selector: &Selector, document: &Document) -> Vec<Selector> {
    match selector {
        Selector::Any | Selector::Prefix(_) | Selector::Range(_) => Vec::new(),
        Selector::Group(group) => {
            let users = document.groups.get(group).into_iter().flatten();
            users.cloned().map(Selector::User).chain([selector.clone()]).collect()
        }
        Selector::Host(_) | Selector::User(_) | Selector::Tag(_) | Selector::Autogroup(_) => {
            vec![selector.clone()]
        }
    }
}
