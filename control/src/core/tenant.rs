//! One network as it is at a revision, and whom each change of it concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use policy::{NodeName, Nodes, Plan};
use proto::control::{Dns, Network, NodeId, Region};
use serde_json::value::{RawValue, to_raw_value};

use super::filters::Differences;
use super::ipam::AddressPlan;
use super::key_lifetime::KeyLifetime;
use super::node::Node;
use super::peer_set::Slot;
use super::rule_book::{RuleBook, Written};

/// See the module.
pub struct Tenant {
    network: Network,
    key_lifetime: KeyLifetime,
    plan: AddressPlan,
    revision: u64,
    nodes: HashMap<NodeId, Seat>,
    /// Who has, or had, each slot.
    slots: Vec<NodeId>,
    slot_of: HashMap<NodeId, Slot>,
    policy: Plan,
    rules: Arc<RuleBook>,
    /// The nodes that offer to relay.
    offering: BTreeSet<NodeId>,
    regions: Vec<Region>,
    regions_since: u64,
    /// When what is set for the network changed.
    network_since: u64,
    differences: Differences,
}

/// A node in its place.
pub(super) struct Seat {
    pub(super) slot: Slot,
    pub(super) node: Node,
    /// The revision at which its peers last had to hear of it.
    pub(super) changed: u64,
    /// What its peers hear.
    pub(super) as_peer: Box<RawValue>,
    /// What those hear that may not send to it directly, once that was asked for.
    pub(super) without_endpoints: OnceLock<Box<RawValue>>,
}

/// One thing that is another now.
#[derive(Clone, Debug)]
pub enum Change {
    /// A node is new, or not what it was.
    Node(Box<Node>),
    /// A node is deleted or revoked.
    Gone(NodeId),
    /// Another policy is in force.
    Policy(Written),
    /// The relays are others.
    Regions(Vec<Region>),
    /// What is set for the network.
    Network(Network, KeyLifetime),
}

/// What a node has to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Whatever it does not know, of everything.
    pub all: bool,
    /// What it has to enforce.
    pub filter: bool,
    /// These nodes, and whether each is a peer of it now.
    pub peers: BTreeMap<NodeId, bool>,
}

/// Peers above which all are looked at.
const MOST_PEERS_DUE: usize = 1_024;

/// Nodes, and what they have to hear of.
pub type Dues = BTreeMap<NodeId, Due>;

/// A network that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value of network {network} cannot be written as JSON: {reason}")]
pub struct Unwritable {
    network: String,
    reason: String,
}

impl Due {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Adds what came later.
    pub fn merge(&mut self, later: Self) {
        self.all |= later.all;
        self.filter |= later.filter;
        self.peers.extend(later.peers);
        if self.all || self.peers.len() > MOST_PEERS_DUE {
            *self = Self::everything();
        }
    }
}

impl Tenant {
    /// The network with these nodes at a revision.
    pub fn new(
        (network, key_lifetime): (Network, KeyLifetime),
        plan: AddressPlan,
        revision: u64,
        nodes: Vec<Node>,
        written: Written,
        regions: Vec<Region>,
    ) -> Result<Self, Unwritable> {
        let mut known = Nodes::default();
        for node in nodes.iter().filter_map(|node| node.in_policy(&plan)) {
            // Host numbers and ids are unique, so addresses and names are.
            let _ = known.insert(node);
        }
        let (policy, rules) = written.plan(&known);
        let mut tenant = Self {
            network,
            key_lifetime,
            plan,
            revision,
            nodes: HashMap::new(),
            slots: Vec::new(),
            slot_of: HashMap::new(),
            policy,
            rules: Arc::new(rules),
            offering: BTreeSet::new(),
            regions,
            regions_since: 0,
            network_since: 0,
            differences: Differences::default(),
        };
        for node in nodes {
            tenant.seat(node, revision)?;
        }
        Ok(tenant)
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// How long its nodes use a WireGuard key.
    #[must_use]
    pub const fn key_lifetime(&self) -> KeyLifetime {
        self.key_lifetime
    }

    /// Where its addresses come from.
    #[must_use]
    pub const fn plan(&self) -> &AddressPlan {
        &self.plan
    }

    /// Which state this is.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(|seat| &seat.node)
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|seat| &seat.node)
    }

    /// The nodes as the policy sees them, called what people call them.
    #[must_use]
    pub fn policy_nodes(&self) -> Nodes {
        let mut nodes = Nodes::default();
        for node in self.nodes() {
            let Some(seen) = node.in_policy(&self.plan) else { continue };
            // What has no letter looks like an address: such a node goes by its id.
            let name = NodeName::parse(&node.name).unwrap_or_else(|| seen.name.clone());
            // Names and addresses are each node's own.
            let _ = nodes.insert(policy::Node { name, ..seen });
        }
        nodes
    }

    pub(super) fn seat_of(&self, id: NodeId) -> Option<&Seat> {
        self.nodes.get(&id)
    }

    pub(super) fn owner_of(&self, slot: Slot) -> Option<NodeId> {
        self.slots.get(slot.0 as usize).copied()
    }

    /// The slot that a node has, or had.
    pub(super) fn slot_of(&self, id: NodeId) -> Option<Slot> {
        self.slot_of.get(&id).copied()
    }

    /// The nodes that offer to relay.
    pub(super) const fn offering(&self) -> &BTreeSet<NodeId> {
        &self.offering
    }

    pub(super) const fn policy(&self) -> &Plan {
        &self.policy
    }

    /// Where the rules of the policy are written.
    pub(super) const fn rules(&self) -> &Arc<RuleBook> {
        &self.rules
    }

    pub(super) const fn differences(&self) -> &Differences {
        &self.differences
    }

    pub(super) fn regions(&self) -> &[Region] {
        &self.regions
    }

    pub(super) const fn regions_since(&self) -> u64 {
        self.regions_since
    }

    pub(super) const fn network_since(&self) -> u64 {
        self.network_since
    }

    pub(super) fn dns(&self) -> Dns {
        Dns { domain: format!("{}.mesh", self.network.name), forward: BTreeMap::new() }
    }

    pub(super) fn filter(&self, id: NodeId) -> Option<policy::Filter> {
        self.policy.filter(&NodeName::parse(&id.to_string())?)
    }

    /// The nodes that a node hears of.
    #[must_use]
    pub fn neighbours(&self, id: NodeId) -> BTreeSet<NodeId> {
        let Some(name) = NodeName::parse(&id.to_string()) else { return BTreeSet::new() };
        let by_flows = self.policy.neighbours(&name).filter_map(|name| name.as_str().parse().ok());
        by_flows.chain(self.relay_partners(id)).collect()
    }

    /// Goes on to a later revision. Gives the nodes that it concerns.
    pub fn apply(&mut self, revision: u64, changes: Vec<Change>) -> Result<Dues, Unwritable> {
        let mut dues = Dues::new();
        self.differences.clear();
        for change in changes {
            match change {
                Change::Node(node) => self.set_node(*node, revision, &mut dues)?,
                Change::Gone(id) => self.remove_node(id, &mut dues),
                Change::Policy(written) => {
                    let before = self.relay_pairs();
                    let (concerned, rules) = written.replace(&mut self.policy);
                    if rules != *self.rules {
                        // Where nothing else is new for a node, its rules may stand elsewhere.
                        self.rules = Arc::new(rules);
                        self.concern_all(&mut dues);
                    }
                    for name in concerned {
                        mark(&mut dues, &name, Due::everything());
                    }
                    for (relay, client) in before.symmetric_difference(&self.relay_pairs()) {
                        for id in [relay, client] {
                            dues.entry(*id).or_default().merge(Due::everything());
                        }
                    }
                }
                Change::Regions(regions) => {
                    (self.regions, self.regions_since) = (regions, revision);
                    self.concern_all(&mut dues);
                }
                Change::Network(network, key_lifetime) => {
                    if network != self.network {
                        (self.network, self.network_since) = (network, revision);
                    }
                    self.key_lifetime = key_lifetime;
                    self.concern_all(&mut dues);
                }
            }
        }
        self.revision = revision;
        Ok(dues)
    }

    fn concern_all(&self, dues: &mut Dues) {
        for id in self.nodes.keys() {
            dues.entry(*id).or_default();
        }
    }

    fn set_node(&mut self, node: Node, revision: u64, dues: &mut Dues) -> Result<(), Unwritable> {
        let (id, old) = (node.id, self.nodes.get(&node.id).map(|seat| &seat.node));
        let old_policy = old.and_then(|old| old.in_policy(&self.plan));
        let new_policy = node.in_policy(&self.plan);
        let heard = old.map(|old| old.as_peer(&self.plan)) != Some(node.as_peer(&self.plan));
        let offered = old.is_some_and(|old| old.relay.is_some());
        if old_policy == new_policy && offered == node.relay.is_some() {
            self.seat(node, revision)?;
            if heard {
                for peer in self.neighbours(id) {
                    dues.entry(peer).or_default().peers.insert(id, true);
                }
            }
            dues.entry(id).or_default();
            return Ok(());
        }
        let before = self.neighbours(id);
        let routes =
            |node: &Option<policy::Node>| node.as_ref().is_some_and(|n| !n.routes.is_empty());
        let reroutes = routes(&old_policy) || routes(&new_policy);
        let dirty = match (new_policy, &old_policy) {
            // Another one with its address cannot be: host numbers are unique.
            (Some(new), _) => self.policy.set_node(new).unwrap_or_default(),
            (None, Some(old)) => self.policy.remove_node(&old.name),
            (None, None) => BTreeSet::new(),
        };
        self.seat(node, revision)?;
        let after = self.neighbours(id);
        for name in dirty {
            // A route may take from one node what it gives to another.
            mark(dues, &name, Due { all: reroutes, filter: true, ..Due::default() });
        }
        for peer in before.union(&after) {
            dues.entry(*peer).or_default().peers.insert(id, after.contains(peer));
        }
        dues.entry(id).or_default().merge(Due::everything());
        Ok(())
    }

    fn remove_node(&mut self, id: NodeId, dues: &mut Dues) {
        let before = self.neighbours(id);
        let Some(seat) = self.nodes.remove(&id) else { return };
        self.offering.remove(&id);
        let reroutes = seat.node.routes().next().is_some();
        if let Some(name) = NodeName::parse(&id.to_string()) {
            for name in self.policy.remove_node(&name) {
                mark(dues, &name, Due { all: reroutes, filter: true, ..Due::default() });
            }
        }
        for peer in before {
            dues.entry(peer).or_default().peers.insert(id, false);
        }
        dues.entry(id).or_default();
    }

    fn seat(&mut self, node: Node, revision: u64) -> Result<(), Unwritable> {
        let id = node.id;
        let peer = node.as_peer(&self.plan);
        let as_peer = self.written(&peer)?;
        let before = self.nodes.get(&id);
        let same = before.filter(|seat| seat.as_peer.get() == as_peer.get());
        let changed = same.map_or(revision, |seat| seat.changed);
        let slot = *self.slot_of.entry(id).or_insert_with(|| {
            self.slots.push(id);
            Slot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if node.relay.is_some() {
            self.offering.insert(id);
        } else {
            self.offering.remove(&id);
        }
        let without_endpoints = OnceLock::new();
        self.nodes.insert(id, Seat { slot, node, changed, as_peer, without_endpoints });
        Ok(())
    }

    pub(super) fn written<T: serde::Serialize>(
        &self,
        value: &T,
    ) -> Result<Box<RawValue>, Unwritable> {
        to_raw_value(value).map_err(|error| self.unwritable(&error))
    }

    pub(super) fn unwritable(&self, error: &serde_json::Error) -> Unwritable {
        Unwritable { network: self.network.name.clone(), reason: error.to_string() }
    }
}

fn mark(dues: &mut Dues, name: &NodeName, due: Due) {
    if let Ok(id) = name.as_str().parse() {
        dues.entry(id).or_default().merge(due);
    }
}
