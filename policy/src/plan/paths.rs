//! By which kinds of path the packets of two nodes may go.
//!
//! Each node has a bit for each rule on whose sides it is, so that the first rule of a pair is found
//! by a few words, whoever there is: pairs are not enumerated, and without rules nothing is kept.

use std::collections::{BTreeSet, HashMap};

use proto::control::PathKinds;

use super::{
    Plan,
    prefix_index::PrefixIndex,
    roster::{Roster, Slot, picked_by},
};
use crate::{Document, GroupName, Node, NodeName, PathRule, Prefix, Selector, UserName};

/// Of more kinds of nodes than this, all that a rule names are looked at after a change.
const MOST_KINDS_OF_NODES: usize = 512;

/// The rules, arranged for nodes.
pub(super) struct PathRules {
    kinds: Vec<PathKinds>,
    by_selector: HashMap<Selector, Sides>,
    /// The groups that rules name, by their users.
    groups_of: HashMap<UserName, Vec<GroupName>>,
    /// Sides, by the addresses that they name.
    by_prefix: PrefixIndex,
    of_nodes: Vec<Sides>,
}

/// On which sides of which rules a node is: one bit for each rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Sides {
    sources: Vec<u64>,
    destinations: Vec<u64>,
}

/// Nodes between which and others other kinds of path are allowed than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// These,
    pub nodes: Vec<NodeName>,
    /// and those, each with each.
    pub others: Vec<NodeName>,
    /// The kinds that were allowed.
    pub old: PathKinds,
    /// The kinds that are.
    pub new: PathKinds,
}

impl Plan {
    /// Whether any kind of path is forbidden to anybody.
    #[must_use]
    pub fn has_path_rules(&self) -> bool {
        !self.document.paths.is_empty()
    }

    /// By which kinds of path the packets of two nodes may go, either way.
    #[must_use]
    pub fn path_kinds(&self, one: &NodeName, other: &NodeName) -> PathKinds {
        let rule = self.roster.slot(one).zip(self.roster.slot(other));
        let rule = rule.and_then(|(one, other)| self.paths.between(one, other));
        self.paths.kinds_by(rule)
    }

    /// The pairs of nodes for which another plan of the same nodes allows other kinds of path.
    #[must_use]
    pub fn path_changes(&self, new: &Self) -> Vec<PathChange> {
        let mut like: HashMap<(&Sides, &Sides), Vec<NodeName>> = HashMap::new();
        let mut names: Vec<_> = self.roster.slots().collect();
        names.sort_by(|a, b| a.1.node.name.cmp(&b.1.node.name));
        for (slot, seat) in names {
            let Some(other) = new.roster.slot(&seat.node.name) else { continue };
            let sides = (self.paths.sides_of(slot), new.paths.sides_of(other));
            like.entry(sides).or_default().push(seat.node.name.clone());
        }
        let mut like: Vec<_> = like.into_iter().collect();
        like.sort_by(|a, b| a.1.cmp(&b.1));
        let mut changes = Vec::new();
        for (at, ((old_sides, new_sides), nodes)) in like.iter().enumerate() {
            for ((old_others, new_others), others) in &like[at..] {
                let before = self.paths.kinds_by(old_sides.first_with(old_others));
                let after = new.paths.kinds_by(new_sides.first_with(new_others));
                let itself = nodes.len() == 1 && nodes == others;
                if before != after && !itself {
                    let (nodes, others) = (nodes.clone(), others.clone());
                    changes.push(PathChange { nodes, others, old: before, new: after });
                }
            }
        }
        changes
    }
}

impl PathRules {
    pub(super) fn none() -> Self {
        Self {
            kinds: Vec::new(),
            by_selector: HashMap::new(),
            groups_of: HashMap::new(),
            by_prefix: PrefixIndex::new(),
            of_nodes: Vec::new(),
        }
    }

    pub(super) fn new(document: &Document, roster: &Roster) -> Self {
        let mut rules = Self::none();
        for (number, PathRule { sources, destinations, kinds, .. }) in (0..).zip(&document.paths) {
            rules.kinds.push(*kinds);
            for (selectors, is_source) in [(sources, true), (destinations, false)] {
                for selector in selectors {
                    rules.name(selector, (number, is_source), document);
                }
            }
        }
        if !rules.kinds.is_empty() {
            for (slot, seat) in roster.slots() {
                rules.set(slot, &seat.node);
            }
        }
        rules
    }

    /// A side of a rule names this.
    fn name(&mut self, selector: &Selector, side: (u32, bool), document: &Document) {
        let mut prefixes = Vec::new();
        match selector {
            Selector::Prefix(prefix) => prefixes.push(*prefix),
            Selector::Range(range) => prefixes.extend(range.prefixes()),
            Selector::Host(name) => prefixes.extend(document.hosts.get(name)),
            Selector::Any
            | Selector::User(_)
            | Selector::Group(_)
            | Selector::Tag(_)
            | Selector::Autogroup(_) => {
                let is_new = !self.by_selector.contains_key(selector);
                self.by_selector.entry(selector.clone()).or_default().add(side);
                if let (Selector::Group(group), true) = (selector, is_new) {
                    for user in document.groups.get(group).into_iter().flatten() {
                        self.groups_of.entry(user.clone()).or_default().push(group.clone());
                    }
                }
            }
        }
        for prefix in prefixes {
            self.by_prefix.insert(prefix, side.0 * 2 + u32::from(side.1));
        }
    }

    /// There is a node in this place.
    pub(super) fn set(&mut self, slot: Slot, node: &Node) {
        if self.kinds.is_empty() {
            return;
        }
        let mut sides = Sides::default();
        let mut selectors = picked_by(node);
        if let Some(Selector::User(user)) = selectors.first() {
            let groups = self.groups_of.get(user).into_iter().flatten();
            selectors.extend(groups.cloned().map(Selector::Group));
        }
        selectors.push(Selector::Any);
        for named in selectors.iter().filter_map(|selector| self.by_selector.get(selector)) {
            sides.add_all(named);
        }
        for prefix in node.addresses.iter().map(|address| Prefix::host(*address)) {
            let wider = self.by_prefix.enclosing(prefix).flat_map(|(_, sides)| sides);
            for side in self.by_prefix.at(prefix).iter().chain(wider) {
                sides.add((side / 2, side % 2 == 1));
            }
        }
        let at = slot.0 as usize;
        if self.of_nodes.len() <= at {
            self.of_nodes.resize_with(at + 1, Sides::default);
        }
        self.of_nodes[at] = sides;
    }

    /// The nodes in these places that may use other kinds of path to somebody than by the rules before.
    pub(super) fn concerned(&self, before: &Self, roster: &Roster) -> BTreeSet<Slot> {
        if self.kinds.is_empty() && before.kinds.is_empty() {
            return BTreeSet::new();
        }
        let mut like: HashMap<(&Sides, &Sides), Vec<Slot>> = HashMap::new();
        for (slot, _) in roster.slots() {
            like.entry((before.sides_of(slot), self.sides_of(slot))).or_default().push(slot);
        }
        let like: Vec<_> = like.into_iter().collect();
        let mut concerned = BTreeSet::new();
        for (at, ((old, new), slots)) in like.iter().enumerate() {
            if like.len() > MOST_KINDS_OF_NODES {
                let named = !old.is_none() || !new.is_none();
                concerned.extend(slots.iter().filter(|_| named));
                continue;
            }
            for ((old_others, new_others), others) in &like[at..] {
                let kinds = before.kinds_by(old.first_with(old_others));
                if kinds != self.kinds_by(new.first_with(new_others)) {
                    concerned.extend(slots.iter().chain(others));
                }
            }
        }
        concerned
    }

    /// The first rule that speaks of two nodes.
    fn between(&self, one: Slot, other: Slot) -> Option<usize> {
        self.sides_of(one).first_with(self.sides_of(other))
    }

    fn kinds_by(&self, rule: Option<usize>) -> PathKinds {
        rule.and_then(|rule| self.kinds.get(rule).copied()).unwrap_or_default()
    }

    fn sides_of(&self, slot: Slot) -> &Sides {
        const NONE: &Sides = &Sides { sources: Vec::new(), destinations: Vec::new() };
        self.of_nodes.get(slot.0 as usize).unwrap_or(NONE)
    }
}

impl Sides {
    fn add(&mut self, (rule, is_source): (u32, bool)) {
        let words = if is_source { &mut self.sources } else { &mut self.destinations };
        let (word, bit) = ((rule / u64::BITS) as usize, rule % u64::BITS);
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << bit;
    }

    fn add_all(&mut self, other: &Self) {
        for (words, more) in
            [(&mut self.sources, &other.sources), (&mut self.destinations, &other.destinations)]
        {
            if words.len() < more.len() {
                words.resize(more.len(), 0);
            }
            words.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
        }
    }

    const fn is_none(&self) -> bool {
        self.sources.is_empty() && self.destinations.is_empty()
    }

    /// The first rule of which the one is on one side, and the other on the other.
    fn first_with(&self, other: &Self) -> Option<usize> {
        let word = |words: &[u64], at: usize| words.get(at).copied().unwrap_or_default();
        (0..self.sources.len().max(other.sources.len())).find_map(|at| {
            let there = word(&self.sources, at) & word(&other.destinations, at);
            let back = word(&other.sources, at) & word(&self.destinations, at);
            let both = there | back;
            (both != 0).then(|| at * u64::BITS as usize + both.trailing_zeros() as usize)
        })
    }
}
