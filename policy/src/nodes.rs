//! The nodes of a network, as far as a policy looks at them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use jsonc_parser::ast::Object;

use crate::{
    Diagnostics, NodeName, Prefix, Selector, TagName, UserName,
    names::is_host,
    parse::selector,
    reader::{Fault, Reader, fault},
};

/// The largest file of nodes that is read.
pub const MAX_NODES_BYTES: usize = 32 << 20;
/// The most nodes of a network.
pub const MAX_NODES: usize = 65_536;
/// The most addresses, routes or tags of one node.
const MAX_OF_ONE: usize = 1_024;

/// A machine of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called; no two nodes are called the same.
    pub name: NodeName,
    /// Whose it is.
    pub identity: NodeIdentity,
    /// Its own addresses; no two nodes share one.
    pub addresses: Vec<IpAddr>,
    /// The networks behind it.
    pub routes: Vec<Prefix>,
}

/// Whose a node is. A node with tags is nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeIdentity {
    /// A user's.
    User(UserName),
    /// It is there for these purposes.
    Tags(Vec<TagName>),
}

/// The nodes, by name and by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    nodes: BTreeMap<NodeName, Node>,
    by_address: HashMap<IpAddr, NodeName>,
}

impl Node {
    /// Its addresses and the networks behind it.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.addresses.iter().map(|&ip| Prefix::host(ip)).chain(self.routes.iter().copied())
    }
}

impl Nodes {
    /// Reads a file of nodes: `{ "nodes": [ { "name": "web1", "user": "alice@example.com",
    /// "addresses": ["100.64.0.1"] } ] }`, with `"tags": ["tag:web"]` in place of `user` for a
    /// machine that is nobody's, and `"routes"` for the networks behind it.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let if_empty = "the file is empty: for no nodes, write { \"nodes\": [] }";
        let (mut reader, object) = Reader::open(text, MAX_NODES_BYTES, if_empty);
        let nodes = object.map(|object| read(&mut reader, &object));
        reader.close(nodes.unwrap_or_default())
    }

    /// Adds a node.
    ///
    /// # Errors
    ///
    /// When another has its name or one of its addresses.
    pub fn insert(&mut self, node: Node) -> Result<(), NodeClash> {
        if self.nodes.contains_key(&node.name) {
            return Err(NodeClash::Name(node.name));
        }
        if let Some((address, other)) =
            node.addresses.iter().find_map(|ip| Some((*ip, self.by_address.get(ip)?)))
        {
            return Err(NodeClash::Address { address, node: node.name, other: other.clone() });
        }
        for &address in &node.addresses {
            self.by_address.insert(address, node.name.clone());
        }
        self.nodes.insert(node.name.clone(), node);
        Ok(())
    }

    /// Takes a node away.
    pub fn remove(&mut self, name: &NodeName) -> Option<Node> {
        let node = self.nodes.remove(name)?;
        for address in &node.addresses {
            self.by_address.remove(address);
        }
        Some(node)
    }

    /// The node of this name.
    #[must_use]
    pub fn get(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The node that has this address itself.
    #[must_use]
    pub fn with_address(&self, address: IpAddr) -> Option<&Node> {
        self.nodes.get(self.by_address.get(&address)?)
    }

    /// The nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// Why a node cannot join the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeClash {
    /// The name is taken.
    #[error("there is a node {0} already: give each its own name")]
    Name(NodeName),
    /// An address is taken.
    #[error("{node} has the address {address}, which {other} has: give each its own")]
    Address {
        /// The address.
        address: IpAddr,
        /// Who wants it.
        node: NodeName,
        /// Who has it.
        other: NodeName,
    },
}

fn read<'a>(reader: &mut Reader<'a>, object: &Object<'a>) -> Nodes {
    let [nodes] = reader.fields(object, ["nodes"], &[]);
    let Some(nodes) = nodes else {
        reader.refuse(object.range.start, "\"nodes\" is missing: for none, write \"nodes\": []");
        return Nodes::default();
    };
    let mut read = Nodes::default();
    for object in reader.objects(nodes, "a node", MAX_NODES) {
        if let Some(node) = node(reader, object)
            && let Err(clash) = read.insert(node)
        {
            reader.refuse(object.range.start, clash.to_string());
        }
    }
    read
}

fn node<'a>(reader: &mut Reader<'a>, object: &Object<'a>) -> Option<Node> {
    let before = reader.faults();
    let keys = ["name", "user", "tags", "addresses", "routes"];
    let [name, user, tags, addresses, routes] = reader.fields(object, keys, &[]);
    for (field, key) in [(name, "name"), (addresses, "addresses")] {
        if field.is_none() {
            reader.refuse(object.range.start, format!("the node lacks {key:?}"));
        }
    }
    let name = name.and_then(|name| reader.string(name, node_name));
    let identity = match (user, tags) {
        (Some(user), None) => reader.string(user, selector::user).map(NodeIdentity::User),
        (None, Some(tags)) => {
            let tags = reader.some_strings(tags, MAX_OF_ONE, selector::tag);
            Some(NodeIdentity::Tags(tags.into_iter().map(|(tag, _)| tag).collect()))
        }
        (Some(_), Some(_)) => {
            let reason = "the node has a user and tags: a node with tags is nobody's, so drop one";
            reader.refuse(object.range.start, reason);
            None
        }
        (None, None) => {
            reader.refuse(object.range.start, "the node lacks \"user\" or \"tags\"");
            None
        }
    };
    let addresses =
        addresses.map_or_else(Vec::new, |list| reader.some_strings(list, MAX_OF_ONE, address));
    let routes =
        routes.map_or_else(Vec::new, |list| reader.strings(list, MAX_OF_ONE, selector::prefix));
    (reader.faults() == before).then_some(Node {
        name: name?,
        identity: identity?,
        addresses: addresses.into_iter().map(|(ip, _)| ip).collect(),
        routes: routes.into_iter().map(|(prefix, _)| prefix).collect(),
    })
}

fn node_name(text: &str) -> Result<NodeName, Fault> {
    if is_host(text) {
        return Ok(NodeName::new(text));
    }
    fault(
        0,
        format!("{text:?} is not the name of a node: use letters, digits, \"-\", \"_\", \".\""),
    )
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    match selector::selector(text)? {
        Selector::Prefix(prefix) if prefix.is_host() && !text.contains('/') => Ok(prefix.address()),
        _ => fault(0, format!("{text:?} is not an address")),
    }
}
