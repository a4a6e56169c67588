//! The nodes as rules pick them: by user, by tag, by address.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
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
    /// The same one by one. An address counts although it lies in a network behind the same node:
    /// its prefix is longer than those of others that lie between.
    prefixes: BTreeSet<Prefix>,
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
        let prefixes: BTreeSet<Prefix> = node.prefixes().collect();
        for prefix in &prefixes {
            self.owners.insert(*prefix, slot.0);
        }
        let own = Arc::new(node.prefixes().collect());
        self.seats[slot.0 as usize] = Some(Seat { node, own, prefixes });
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
        for prefix in seat.prefixes {
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

    /// Whether the selectors speak of this address.
    pub(super) fn speaks_of(
        &self,
        address: IpAddr,
        selectors: &[Selector],
        document: &Document,
    ) -> bool {
        let holder = self.holder(address);
        let picks = |selector: &Selector| {
            let picked = self.picked.get(selector);
            holder.zip(picked).is_some_and(|(holder, picked)| picked.contains(&holder))
        };
        selectors.iter().any(|selector| match selector {
            Selector::Any => true,
            Selector::Prefix(prefix) => prefix.contains(address),
            Selector::Range(range) => {
                range.prefixes().iter().any(|prefix| prefix.contains(address))
            }
            Selector::Host(name) => {
                document.hosts.get(name).is_some_and(|prefix| prefix.contains(address))
            }
            Selector::Group(name) => {
                let mut users = document.groups.get(name).into_iter().flatten();
                users.any(|user| picks(&Selector::User(user.clone())))
            }
            Selector::Autogroup(Autogroup::Internet) => self.internet.contains(address),
            Selector::User(_) | Selector::Tag(_) | Selector::Autogroup(_) => picks(selector),
        })
    }

    /// The node that has the address, which no two have.
    pub(super) fn holder(&self, address: IpAddr) -> Option<Slot> {
        let mut owners = self.owners.at(Prefix::host(address)).iter().map(|slot| Slot(*slot));
        let has = |slot: &Slot| {
            self.seat(*slot).is_some_and(|seat| seat.node.addresses.contains(&address))
        };
        owners.find(has)
    }

    /// The nodes that packets to or from an address of the set may pass.
    pub(super) fn on_the_way(&self, set: &AddressSet) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        for prefix in set.prefixes() {
            let inner = self.owners.enclosed(*prefix);
            let longest = self.owners.enclosing(*prefix).next();
            for (_, owners) in inner.chain(longest) {
                slots.extend(owners.iter().copied().map(Slot));
            }
        }
        slots
    }

    /// The nodes with all of the prefix behind them.
    pub(super) fn over(&self, prefix: Prefix) -> impl Iterator<Item = Slot> {
        let wider = self.owners.enclosing(prefix).flat_map(|(_, owners)| owners);
        self.owners.at(prefix).iter().chain(wider).copied().map(Slot)
    }

    /// A node's part of the set, of which packets to or from it pass the node. Where routes overlap,
    /// the longest counts.
    pub(super) fn part(&self, slot: Slot, set: &AddressSet) -> Option<Arc<AddressSet>> {
        let seat = self.seat(slot)?;
        let mut part = Vec::new();
        for own in &seat.prefixes {
            if set.holds(own) {
                part.push(*own);
                continue;
            }
            let longest = |inner: &&Prefix| {
                self.owners.at(**inner).is_empty()
                    && self.owners.enclosing(**inner).next().is_some_and(|(over, _)| over == *own)
            };
            part.extend(set.within(own).iter().filter(longest));
        }
        let part = AddressSet::new(part);
        // Most often it is all that the node has: one copy does.
        let shared = if *seat.own == part { Arc::clone(&seat.own) } else { Arc::new(part) };
        (!shared.is_empty()).then_some(shared)
    }
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
