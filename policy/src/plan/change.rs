//! Changes of a plan. Each tells whose filters are others now.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::{
    Autogroup, Grant, Plan, Planned, grants_of,
    parties::{Difference, GrantId, NodeChange, PartyId},
    paths::PathRules,
    roster::{Slot, picked_by},
};
use crate::{Document, Node, NodeClash, NodeIdentity, NodeName, Nodes, Rule, RuleId, Selector};

impl Plan {
    /// Adds a node, or puts it in place of the one of its name. Gives the nodes whose filters are
    /// others now.
    ///
    /// # Errors
    ///
    /// When another node has one of its addresses; then nothing changes.
    pub fn set_node(&mut self, node: Node) -> Result<BTreeSet<NodeName>, NodeClash> {
        for &address in &node.addresses {
            let holder = self.roster.holder(address).and_then(|slot| self.roster.seat(slot));
            if let Some(other) = holder.filter(|holder| holder.node.name != node.name) {
                let other = other.node.name.clone();
                return Err(NodeClash::Address { address, node: node.name, other });
            }
        }
        Ok(self.exchange(&node.name.clone(), Some(node)))
    }

    /// Takes a node away. Gives the others whose filters are others now.
    pub fn remove_node(&mut self, name: &NodeName) -> BTreeSet<NodeName> {
        self.exchange(name, None)
    }

    fn exchange(&mut self, name: &NodeName, new: Option<Node>) -> BTreeSet<NodeName> {
        let old = self.roster.slot(name);
        let old_node = old.and_then(|slot| self.roster.seat(slot)).map(|seat| seat.node.clone());
        if old_node == new {
            return BTreeSet::new();
        }
        let both = || old_node.iter().chain(&new);
        let selectors: HashSet<Selector> = both().flat_map(picked_by).collect();
        let mut change = NodeChange {
            addresses: both().flat_map(|node| &node.addresses).copied().collect(),
            prefixes: both().flat_map(Node::prefixes).collect(),
            nodes: old.into_iter().collect(),
        };

        let mut dirty = BTreeSet::new();
        let mut concerned = self.parties.overlapping(&change.prefixes);
        if let Some(slot) = old {
            self.roster.remove(slot);
        }
        if let Some(node) = &new {
            let slot = self.roster.insert(node.clone());
            self.paths.set(slot, node);
            change.nodes.insert(slot);
            if let NodeIdentity::User(user) = &node.identity {
                self.let_reach_own(&Selector::User(user.clone()), &mut dirty);
            }
        }
        concerned.extend(self.parties.naming(&selectors));
        let (document, roster) = (&self.document, &self.roster);
        let follow = |party| self.parties.follow(party, &change, document, roster);
        let differences = concerned.into_iter().map(follow).collect();
        self.take_in(differences, &mut dirty);
        self.names(dirty)
    }

    /// Grants that `autogroup:self` means for a user who had no node before.
    fn let_reach_own(&mut self, user: &Selector, dirty: &mut BTreeSet<Slot>) {
        for position in 0..self.order.len() {
            let (id, rule) = (self.order[position], &self.document.rules[position]);
            let any_member = rule.sources.contains(&Selector::Autogroup(Autogroup::Member));
            if !any_member || !rule.destinations.iter().any(|to| to.selector.is_own()) {
                continue;
            }
            let is_own = |grant: &Grant| {
                let ends = [grant.sources, grant.destinations];
                ends.iter().all(|party| self.parties.is_just(*party, user))
            };
            let mut grants = self.planned(id).grants.iter();
            if grants.any(|grant| self.grant(*grant).is_some_and(is_own)) {
                continue;
            }
            let own = rule.destinations.iter().filter(|to| to.selector.is_own());
            let rule =
                Rule { sources: vec![user.clone()], destinations: own.cloned().collect(), ..*rule };
            for grant in self.add_grants(id, &rule) {
                self.mark(grant, dirty);
            }
        }
    }

    /// Puts another document in force. Rules that it shares with the one before keep their ids.
    /// Gives the nodes whose filters, or paths to others, may be others now; all else have the same.
    pub fn set_document(&mut self, document: Document) -> BTreeSet<NodeName> {
        let changed = changed_names(&self.document, &document);
        let kept = self.kept_rules(&document, &changed);
        let mut dirty = BTreeSet::new();
        let staying: HashSet<RuleId> = kept.iter().flatten().copied().collect();
        let before = std::mem::take(&mut self.order);

        // Parties are found by whom they name, which is another for a group with other users.
        let concerned = self.parties.naming(&changed);
        self.parties.renamed(&concerned, &self.document, &document);
        self.document = document;
        self.refresh(concerned, &mut dirty);

        let paths = PathRules::new(&self.document, &self.roster);
        dirty.extend(paths.concerned(&self.paths, &self.roster));
        self.paths = paths;

        for (position, kept) in (0u32..).zip(kept) {
            let id = kept.unwrap_or_else(|| {
                self.rules.push(Planned { position, grants: Vec::new() });
                RuleId(u32::try_from(self.rules.len() - 1).unwrap_or(u32::MAX))
            });
            self.rules[id.0 as usize].position = position;
            self.order.push(id);
            if kept.is_none() {
                let rule = self.document.rules[position as usize].clone();
                for grant in self.add_grants(id, &rule) {
                    self.mark(grant, &mut dirty);
                }
            }
        }
        // The old rules last: most parties are those of the new ones too, and stay what they are.
        for id in before.into_iter().filter(|id| !staying.contains(id)) {
            self.drop_grants(id, &mut dirty);
        }
        self.names(dirty)
    }

    /// For each rule of the document, the rule in force that says the same, in the same order.
    fn kept_rules(&self, document: &Document, changed: &[Selector]) -> Vec<Option<RuleId>> {
        let mut before: HashMap<Said<'_>, VecDeque<usize>> = HashMap::new();
        for (position, rule) in self.document.rules.iter().enumerate() {
            before.entry(Said(rule)).or_default().push_back(position);
        }
        let mut next = 0;
        let mut kept = Vec::with_capacity(document.rules.len());
        for rule in &document.rules {
            // What `autogroup:self` is made into depends on the groups.
            let redefined = rule.destinations.iter().any(|to| to.selector.is_own())
                && rule.sources.iter().any(|source| changed.contains(source));
            let position =
                before.get_mut(&Said(rule)).filter(|_| !redefined).and_then(|positions| {
                    while positions.front().is_some_and(|position| *position < next) {
                        positions.pop_front();
                    }
                    positions.pop_front()
                });
            if let Some(position) = position {
                next = position + 1;
            }
            kept.push(position.map(|position| self.order[position]));
        }
        kept
    }

    fn add_grants(&mut self, id: RuleId, rule: &Rule) -> Vec<GrantId> {
        let mut added = Vec::new();
        for (sources, destinations, services) in grants_of(rule, &self.document, &self.roster) {
            let grant = GrantId(u32::try_from(self.grants.len()).unwrap_or(u32::MAX));
            let (document, roster) = (&self.document, &self.roster);
            let sources = self.parties.join(&sources, (grant, true), document, roster);
            let destinations = self.parties.join(&destinations, (grant, false), document, roster);
            let services = self.services.id_of(&services);
            let action = rule.action;
            self.grants.push(Some(Grant { rule: id, action, sources, destinations, services }));
            self.rules[id.0 as usize].grants.push(grant);
            added.push(grant);
        }
        added
    }

    fn drop_grants(&mut self, id: RuleId, dirty: &mut BTreeSet<Slot>) {
        for grant in std::mem::take(&mut self.rules[id.0 as usize].grants) {
            self.mark(grant, dirty);
            if let Some(Grant { sources, destinations, .. }) =
                self.grants.get_mut(grant.0 as usize).and_then(Option::take)
            {
                self.parties.leave(sources, grant, &self.document);
                if destinations != sources {
                    self.parties.leave(destinations, grant, &self.document);
                }
            }
        }
    }

    /// Works out the parties anew, and whose filters that changes.
    fn refresh(&mut self, parties: BTreeSet<PartyId>, dirty: &mut BTreeSet<Slot>) {
        let (document, roster) = (&self.document, &self.roster);
        let refresh = |party| self.parties.refresh(party, document, roster);
        let differences = parties.into_iter().map(refresh).collect();
        self.take_in(differences, dirty);
    }

    /// The nodes whose filters are others after parties changed.
    fn take_in(&self, differences: Vec<Difference>, dirty: &mut BTreeSet<Slot>) {
        let moved: HashSet<PartyId> =
            differences.iter().filter(|one| one.addresses).map(|one| one.party).collect();
        for difference in differences {
            for (grant, is_source) in self.parties.grants(difference.party) {
                let Some(grant) = self.grant(*grant) else { continue };
                let other = if *is_source { grant.destinations } else { grant.sources };
                // One that has just become empty was not before.
                if !self.parties.set(other).is_empty() || moved.contains(&other) {
                    dirty.extend(&difference.nodes);
                }
                if difference.addresses {
                    dirty.extend(self.parties.touched(other));
                }
            }
        }
    }

    /// The nodes that enforce a grant.
    fn mark(&self, grant: GrantId, dirty: &mut BTreeSet<Slot>) {
        let Some(grant) = self.grant(grant) else { return };
        let (sources, destinations) = (grant.sources, grant.destinations);
        if !self.parties.set(sources).is_empty() && !self.parties.set(destinations).is_empty() {
            dirty.extend(self.parties.touched(sources));
            dirty.extend(self.parties.touched(destinations));
        }
    }

    fn names(&self, slots: BTreeSet<Slot>) -> BTreeSet<NodeName> {
        let seats = slots.into_iter().filter_map(|slot| self.roster.seat(slot));
        seats.map(|seat| seat.node.name.clone()).collect()
    }

    /// The nodes, as they are now.
    #[must_use]
    pub fn to_nodes(&self) -> Nodes {
        let mut nodes = Nodes::default();
        for node in self.nodes() {
            // They were let in one by one: none clashes.
            let _ = nodes.insert(node.clone());
        }
        nodes
    }
}

/// A rule by what it says, wherever it stands.
struct Said<'a>(&'a Rule);

impl PartialEq for Said<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.0, other.0);
        one.action == other.action
            && one.sources == other.sources
            && one.destinations == other.destinations
    }
}

impl Eq for Said<'_> {}

impl std::hash::Hash for Said<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0.action, &self.0.sources, &self.0.destinations).hash(state);
    }
}

/// The groups and hosts that two documents define otherwise.
fn changed_names(before: &Document, after: &Document) -> Vec<Selector> {
    let groups = before.groups.keys().chain(after.groups.keys());
    let groups = groups.filter(|name| before.groups.get(*name) != after.groups.get(*name));
    let hosts = before.hosts.keys().chain(after.hosts.keys());
    let hosts = hosts.filter(|name| before.hosts.get(*name) != after.hosts.get(*name));
    groups.cloned().map(Selector::Group).chain(hosts.cloned().map(Selector::Host)).collect()
}
