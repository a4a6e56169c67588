//! A document over nodes: which rules each node has to enforce, kept so that a change costs what
//! it concerns.
//!
//! The list of selectors that a rule has on one side is a *party*; rules with the same list share
//! it. A party has addresses, and touches the nodes that packets to or from these pass. A rule is
//! made of *grants*: from one party to the services of another. A node enforces the grants of the
//! parties that touch it, narrowed on its own side to its own addresses.

mod change;
mod draft;
mod fit;
mod neighbours;
mod parties;
mod paths;
mod prefix_index;
mod relays;
mod roster;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    Action, Autogroup, Destination, Document, Filter, Node, NodeName, Nodes, ProtocolPorts, Rule,
    RuleId, RuleIndex, Selector, Service,
};
use draft::Draft;
pub use fit::Unfit;
use parties::{GrantId, Parties, PartyId};
pub use paths::PathChange;
use paths::PathRules;
pub use relays::RelayChange;
use roster::{Roster, Slot};

/// See the module.
pub struct Plan {
    document: Document,
    roster: Roster,
    parties: Parties,
    grants: Vec<Option<Grant>>,
    /// Every rule that there was; a change of the document makes new ones.
    rules: Vec<Planned>,
    /// The rules of the document, in its order.
    order: Vec<RuleId>,
    services: ServiceLists,
    paths: PathRules,
}

/// From one party to services of another.
struct Grant {
    rule: RuleId,
    action: Action,
    sources: PartyId,
    destinations: PartyId,
    services: u32,
}

/// A rule, and what it was made into.
struct Planned {
    position: u32,
    grants: Vec<GrantId>,
}

/// Lists of services, each once.
#[derive(Default)]
struct ServiceLists {
    lists: Vec<Arc<[ProtocolPorts]>>,
    ids: HashMap<Arc<[ProtocolPorts]>, u32>,
}

impl ServiceLists {
    fn id_of(&mut self, services: &[Service]) -> u32 {
        let mut list: Vec<ProtocolPorts> = services
            .iter()
            .flat_map(Service::numbered)
            .map(|(protocol, ports)| ProtocolPorts { protocol, ports })
            .collect();
        list.sort_unstable();
        list.dedup();
        let list: Arc<[ProtocolPorts]> = list.into();
        *self.ids.entry(list).or_insert_with_key(|list| {
            self.lists.push(Arc::clone(list));
            u32::try_from(self.lists.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Plan {
    /// What the document says between these nodes.
    #[must_use]
    pub fn new(document: Document, nodes: &Nodes) -> Self {
        let mut roster = Roster::new();
        for node in nodes.iter() {
            roster.insert(node.clone());
        }
        let mut plan = Self {
            document: Document::default(),
            roster,
            parties: Parties::new(),
            grants: Vec::new(),
            rules: Vec::new(),
            order: Vec::new(),
            services: ServiceLists::default(),
            paths: PathRules::none(),
        };
        plan.set_document(document);
        plan
    }

    /// The document in force.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.roster.slots().map(|(_, seat)| &seat.node)
    }

    /// The rules of the document in force, in its order.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        &self.order
    }

    /// Where a rule stands in the document in force; nothing if it is not there any more.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<(usize, &Rule)> {
        let position = self.rules.get(id.0 as usize)?.position as usize;
        (self.order.get(position) == Some(&id)).then(|| (position, &self.document.rules[position]))
    }

    /// What a node has to enforce: the rules in whose destinations it is, narrowed there to it, and
    /// those in whose sources it is, narrowed there; nothing if there is no such node.
    #[must_use]
    pub fn filter(&self, name: &NodeName) -> Option<Filter> {
        self.roster.slot(name).map(|slot| self.filter_of(slot))
    }

    /// The filters of all nodes, one after the other.
    pub fn filters(&self) -> impl Iterator<Item = (&NodeName, Filter)> {
        self.roster.slots().map(|(slot, seat)| (&seat.node.name, self.filter_of(slot)))
    }

    /// Every rule between everyone: for a gateway that enforces them all.
    #[must_use]
    pub fn everything(&self) -> Filter {
        let mut draft = Draft::default();
        for grant in self.order.iter().flat_map(|&rule| &self.planned(rule).grants) {
            if let Some(grant) = self.grant(*grant) {
                let (from, to) =
                    (self.parties.set(grant.sources), self.parties.set(grant.destinations));
                draft.push(self.planned(grant.rule).position, grant, from, to);
            }
        }
        let mut filter = draft.finish(&self.services);
        // Here a rule's index is its position, also after one that speaks of nobody.
        for flow in &mut filter.flows {
            flow.rule = RuleIndex(self.planned(filter.rules[flow.rule.0 as usize]).position);
        }
        filter.rules.clone_from(&self.order);
        filter
    }

    fn filter_of(&self, slot: Slot) -> Filter {
        let mut draft = Draft::default();
        for (party, part) in self.parties.touching(slot) {
            for (grant, is_source) in self.parties.grants(*party) {
                let Some(grant) = self.grant(*grant) else { continue };
                let position = self.planned(grant.rule).position;
                if *is_source {
                    draft.push(position, grant, part, self.parties.set(grant.destinations));
                } else {
                    draft.push(position, grant, self.parties.set(grant.sources), part);
                }
            }
        }
        draft.finish(&self.services)
    }

    fn planned(&self, rule: RuleId) -> &Planned {
        &self.rules[rule.0 as usize]
    }

    fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(id.0 as usize)?.as_ref()
    }
}

/// What a rule is made into: parties' selectors, and the services.
fn grants_of(rule: &Rule, document: &Document, roster: &Roster) -> Vec<GrantOf> {
    let mut by_services: BTreeMap<usize, (Arc<[Service]>, Vec<Selector>)> = BTreeMap::new();
    let mut first_with: HashMap<&Arc<[Service]>, usize> = HashMap::new();
    let mut grants = Vec::new();
    for (index, Destination { selector, services }) in rule.destinations.iter().enumerate() {
        if *selector == Selector::Autogroup(Autogroup::Own) {
            for user in users(&rule.sources, document, roster) {
                let own: Arc<[Selector]> = [user].into();
                grants.push((Arc::clone(&own), own, Arc::clone(services)));
            }
            continue;
        }
        let first = *first_with.entry(services).or_insert(index);
        let (_, selectors) =
            by_services.entry(first).or_insert_with(|| (Arc::clone(services), Vec::new()));
        selectors.push(selector.clone());
    }
    let sources: Arc<[Selector]> = rule.sources.clone().into();
    grants.extend(
        by_services
            .into_values()
            .map(|(services, selectors)| (Arc::clone(&sources), selectors.into(), services)),
    );
    grants
}

type GrantOf = (Arc<[Selector]>, Arc<[Selector]>, Arc<[Service]>);

/// The users among the sources of a rule with `autogroup:self`, each once.
fn users(sources: &[Selector], document: &Document, roster: &Roster) -> Vec<Selector> {
    let mut users: Vec<&crate::UserName> = Vec::new();
    for source in sources {
        match source {
            Selector::User(user) => users.push(user),
            Selector::Group(group) => {
                users.extend(document.groups.get(group).into_iter().flatten())
            }
            Selector::Autogroup(Autogroup::Member) => {
                users.extend(roster.users().filter_map(|user| match user {
                    Selector::User(user) => Some(user),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    users.sort_unstable();
    users.dedup();
    users.into_iter().cloned().map(Selector::User).collect()
}
