//! The nodes as rules pick them: by user, by tag, by address.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::prefix_index::PrefixIndex;
use crate::{
    AddressSet, Autogroup, Document, Node, NodeIdentity, NodeName, Prefix, Selector,
    internet::internet,
};

/// A node's place in the roster; a new node may get that of one that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u32);

/// A node in its place.
pub(super) struct Seat {
    pub(super) node: Node,
    /// Its addresses and the networks behind it.
    pub(super) own: Arc<AddressSet>,
}

pub(super) struct Roster {
    seats: Vec<Option<Seat>>,
    free: Vec<Slot>,
    by_name: HashMap<NodeName, Slot>,
    /// Whom each selector of nodes picks; groups are not here, they are lists of users.
    picked: HashMap<Selector, BTreeSet<Slot>>,
    owners: PrefixIndex,
    internet: AddressSet,
}

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            seats: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            picked: HashMap::new(),
            owners: PrefixIndex::new(),
            internet: internet(),
        }
    }

    pub(super) fn slot(&self, name: &NodeName) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub(super) fn seat(&self, slot: Slot) -> Option<&Seat> {
        self.seats.get(slot.0 as usize)?.as_ref()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Seat)> {
        (0..).map(Slot).zip(&self.seats).filter_map(|(slot, seat)| Some((slot, seat.as_ref()?)))
    }

    /// Seats a node whose name is not taken.
    pub(super) fn insert(&mut self, node: Node) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            Slot(u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX))
        });
        self.by_name.insert(node.name.clone(), slot);
        for selector in picked_by(&node) {
            self.picked.entry(selector).or_default().insert(slot);
        }
        for prefix in distinct_prefixes(&node) {
            self.owners.insert(prefix, slot.0);
        }
        let own = Arc::new(node.prefixes().collect());
        self.seats[slot.0 as usize] = Some(Seat { node, own });
        slot
    }

    /// Takes a node from its place.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Node> {
        let seat = self.seats.get_mut(slot.0 as usize)?.take()?;
        self.by_name.remove(&seat.node.name);
        self.free.push(slot);
        for selector in picked_by(&seat.node) {
            if let Some(picked) = self.picked.get_mut(&selector) {
                picked.remove(&slot);
            }
        }
        for prefix in distinct_prefixes(&seat.node) {
            self.owners.remove(prefix, slot.0);
        }
        Some(seat.node)
    }

    /// The users who have a node.
    pub(super) fn users(&self) -> impl Iterator<Item = &Selector> {
        let has_some = |(selector, picked): &(&Selector, &BTreeSet<Slot>)| {
            matches!(selector, Selector::User(_)) && !picked.is_empty()
        };
        self.picked.iter().filter(has_some).map(|(selector, _)| selector)
    }

    /// Every address that the selectors speak of.
    pub(super) fn resolve(&self, selectors: &[Selector], document: &Document) -> AddressSet {
        let mut prefixes = Vec::new();
        for selector in selectors {
            match selector {
                Selector::Any => prefixes.extend([Prefix::V4, Prefix::V6]),
                Selector::Prefix(prefix) => prefixes.push(*prefix),
                Selector::Range(range) => prefixes.extend(range.prefixes()),
                Selector::Host(name) => prefixes.extend(document.hosts.get(name)),
                Selector::Group(name) => {
                    for user in document.groups.get(name).into_iter().flatten() {
                        self.addresses(&Selector::User(user.clone()), &mut prefixes);
                    }
                }
                Selector::Autogroup(Autogroup::Internet) => {
                    prefixes.extend(self.internet.prefixes());
                }
                Selector::User(_) | Selector::Tag(_) | Selector::Autogroup(_) => {
                    self.addresses(selector, &mut prefixes);
                }
            }
        }
        AddressSet::new(prefixes)
    }

    /// The nodes' own addresses, without the networks behind them: who is there is not the node.
    fn addresses(&self, selector: &Selector, into: &mut Vec<Prefix>) {
        let slots = self.picked.get(selector).into_iter().flatten();
        for seat in slots.filter_map(|slot| self.seat(*slot)) {
            into.extend(seat.node.addresses.iter().map(|&address| Prefix::host(address)));
        }
    }

    /// The nodes that packets to or from the set pass, each with its part of the set. Where routes
    /// overlap, the longest counts.
    pub(super) fn touched(&self, set: &AddressSet) -> Vec<(Slot, Arc<AddressSet>)> {
        let mut parts: Vec<(Slot, Prefix)> = Vec::new();
        for &prefix in set.prefixes() {
            for (inner, owners) in self.owners.enclosed(prefix) {
                parts.extend(owners.iter().map(|&slot| (Slot(slot), inner)));
            }
            if !self.owners.contains(prefix)
                && let Some((_, owners)) = self.owners.enclosing(prefix).next()
            {
                parts.extend(owners.iter().map(|&slot| (Slot(slot), prefix)));
            }
        }
        parts.sort_unstable();
        let of_one = |parts: &[(Slot, Prefix)]| {
            let (slot, _) = parts[0];
            let part: AddressSet = parts.iter().map(|(_, prefix)| *prefix).collect();
            // Most often it is all that the node has: one copy does.
            let own = self.seat(slot).map(|seat| &seat.own).filter(|own| ***own == part);
            (slot, own.map_or_else(|| Arc::new(part), Arc::clone))
        };
        parts.chunk_by(|(one, _), (other, _)| one == other).map(of_one).collect()
    }
}

/// An address counts although it lies in a network behind the same node: its prefix is longer than
/// those of others that lie between.
fn distinct_prefixes(node: &Node) -> BTreeSet<Prefix> {
    node.prefixes().collect()
}

/// The selectors that pick this node.
pub(super) fn picked_by(node: &Node) -> Vec<Selector> {
    match &node.identity {
        NodeIdentity::User(user) => {
            vec![Selector::User(user.clone()), Selector::Autogroup(Autogroup::Member)]
        }
        NodeIdentity::Tags(tags) => {
            let tagged = Selector::Autogroup(Autogroup::Tagged);
            tags.iter().cloned().map(Selector::Tag).chain([tagged]).collect()
        }
    }
}
