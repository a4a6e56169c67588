//! From rules to tables whose lookup costs the same however many rules there are.
//!
//! A source address leads to an *identity*, a destination address to a *class*: which of the
//! filter's address sets hold it. For each pair of them that a rule joins, and each protocol, the
//! ports are handed to the first rule that claims them.

mod entries;
mod lookup;
mod partition;

use std::net::IpAddr;

use crate::{
    Action, AddressSet, Document, Filter, Nodes, Packet, Plan, PortPrefix, Prefix, prefix::mapped,
    protocol::has_ports,
};
pub(crate) use lookup::Lookup;
pub(crate) use partition::Partition;

/// The most entries of the compiled tables: about 64 bytes of the kernel's memory each.
pub const MAX_TABLE_ENTRIES: usize = 1 << 20;
/// The most (prefix, set) and (identity, class, rule) pairs that compiling may look at: bounds its
/// time and memory when many rules name many overlapping prefixes.
pub const MAX_MEMBERSHIPS: usize = 1 << 24;

/// Which set of sources an address belongs to. Zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u32);

/// Which set of destinations an address belongs to. Zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u32);

/// The position of a rule in its document or its filter, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub u32);

/// The rule for some ports of one protocol, from one identity to one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Of the source.
    pub identity: Identity,
    /// Of the destination.
    pub class: Class,
    /// The IP protocol.
    pub protocol: u8,
    /// The destination's ports.
    pub ports: PortPrefix,
    /// The rule that decides on them.
    pub rule: RuleIndex,
    /// What it decides.
    pub action: Action,
}

/// A compiled policy. Addresses that no prefix covers have identity or class zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    identities: Vec<(Prefix, Identity)>,
    classes: Vec<(Prefix, Class)>,
    entries: Vec<Entry>,
    rule_count: usize,
    sources: Lookup<Identity>,
    destinations: Lookup<Class>,
}

/// Why a valid document cannot be put into tables: it is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// See [`MAX_TABLE_ENTRIES`].
    #[error(
        "the policy needs more than {limit} table entries: narrow rule {} (the first is 0), which \
         joins the most, or merge rules whose sources, destinations or ports overlap",
        widest.0
    )]
    TooManyEntries {
        /// The limit.
        limit: usize,
        /// The rule that joins the most identities and classes.
        widest: RuleIndex,
    },
    /// See [`MAX_MEMBERSHIPS`].
    #[error(
        "the policy's rules name more than {limit} overlapping prefixes: merge rules that share \
         sources or destinations"
    )]
    TooManyMemberships {
        /// The limit.
        limit: usize,
    },
    /// More sets than a 32-bit number can name.
    #[error("the policy's prefixes overlap in too many ways: merge rules")]
    TooManySets,
}

/// Compiles a document for one who knows no nodes: users, tags and groups are nobody's.
///
/// # Errors
///
/// When the tables would be too large.
pub fn compile(document: &Document) -> Result<Compiled, CompileError> {
    compile_with(document, &Nodes::default())
}

/// Compiles a whole document, for one who enforces it between all nodes.
///
/// # Errors
///
/// When the tables would be too large.
pub fn compile_with(document: &Document, nodes: &Nodes) -> Result<Compiled, CompileError> {
    Plan::new(document.clone(), nodes).everything().compile()
}

pub(crate) fn compile_filter(filter: &Filter) -> Result<Compiled, CompileError> {
    let sources = partition(filter, |flow| flow.sources)?;
    let destinations = partition(filter, |flow| flow.destinations)?;
    let entries = entries::between(filter, &sources, &destinations)?;
    let identities: Vec<_> =
        sources.prefixes.into_iter().map(|(prefix, id)| (prefix, Identity(id))).collect();
    let classes: Vec<_> =
        destinations.prefixes.into_iter().map(|(prefix, id)| (prefix, Class(id))).collect();
    Ok(Compiled {
        sources: Lookup::new(&identities),
        destinations: Lookup::new(&classes),
        identities,
        classes,
        entries,
        rule_count: filter.rules.len(),
    })
}

/// Divides the addresses by which of the sets that are used so hold them.
pub(crate) fn partition(
    filter: &Filter,
    used: impl Fn(&crate::FilterRule) -> u32,
) -> Result<Partition, CompileError> {
    let mut sets: Vec<u32> = filter.flows.iter().map(used).collect();
    sets.sort_unstable();
    sets.dedup();
    let members: Vec<(u32, &AddressSet)> =
        sets.into_iter().map(|set| (set, &*filter.sets[set as usize])).collect();
    Partition::new(&members, filter.sets.len(), MAX_MEMBERSHIPS)
}

impl Compiled {
    /// Prefixes of sources. The longest that covers an address names its identity.
    #[must_use]
    pub fn identities(&self) -> &[(Prefix, Identity)] {
        &self.identities
    }

    /// Prefixes of destinations. The longest that covers an address names its class.
    #[must_use]
    pub fn classes(&self) -> &[(Prefix, Class)] {
        &self.classes
    }

    /// The rules between identities and classes, in order; no two overlap.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many rules the document or the filter has.
    #[must_use]
    pub const fn rule_count(&self) -> usize {
        self.rule_count
    }

    /// How many entries the kernel's tables need.
    #[must_use]
    pub const fn table_entries(&self) -> usize {
        self.identities.len() + self.classes.len() + self.entries.len()
    }

    /// The identity of a source; zero if it has none.
    #[must_use]
    pub fn identity(&self, source: IpAddr) -> Identity {
        self.sources.find(source).unwrap_or(Identity(0))
    }

    /// The class of a destination; zero if it has none.
    #[must_use]
    pub fn class(&self, destination: IpAddr) -> Class {
        self.destinations.find(destination).unwrap_or(Class(0))
    }

    /// The rule that decides on the packet, by the tables alone.
    #[must_use]
    pub fn find(&self, packet: &Packet) -> Option<&Entry> {
        let identity = self.sources.find(packet.source)?;
        let class = self.destinations.find(packet.destination)?;
        let port = if has_ports(packet.protocol) { packet.port } else { 0 };
        let wanted = (identity, class, packet.protocol, port);
        let after = self.entries.partition_point(|entry| {
            (entry.identity, entry.class, entry.protocol, entry.ports.port) <= wanted
        });
        let entry = self.entries.get(after.checked_sub(1)?)?;
        let same =
            (entry.identity, entry.class, entry.protocol) == (identity, class, packet.protocol);
        (same && entry.ports.contains(port)).then_some(entry)
    }

    /// The longest prefix that covers a source: it names the identity.
    #[must_use]
    pub fn source_prefix(&self, source: IpAddr) -> Option<Prefix> {
        longest(&self.identities, source)
    }

    /// The longest prefix that covers a destination: it names the class.
    #[must_use]
    pub fn destination_prefix(&self, destination: IpAddr) -> Option<Prefix> {
        longest(&self.classes, destination)
    }

    pub(crate) const fn source_ranges(&self) -> &Lookup<Identity> {
        &self.sources
    }

    pub(crate) const fn destination_ranges(&self) -> &Lookup<Class> {
        &self.destinations
    }

    /// The classes to which there are entries from an identity, in order.
    pub(crate) fn classes_from(&self, identity: Identity) -> Vec<Class> {
        let start = self.entries.partition_point(|entry| entry.identity < identity);
        let of_identity =
            self.entries[start..].iter().take_while(|entry| entry.identity == identity);
        let mut classes: Vec<Class> = of_identity.map(|entry| entry.class).collect();
        classes.dedup();
        classes
    }

    /// The entries from one identity to one class.
    pub(crate) fn between(&self, identity: Identity, class: Class) -> &[Entry] {
        let pair = (identity, class);
        let start = self.entries.partition_point(|entry| (entry.identity, entry.class) < pair);
        let rest = &self.entries[start..];
        let length = rest.partition_point(|entry| (entry.identity, entry.class) == pair);
        &rest[..length]
    }
}

fn longest<T>(table: &[(Prefix, T)], address: IpAddr) -> Option<Prefix> {
    let covering = table.iter().filter(|(prefix, _)| prefix.covers(mapped(address)));
    covering.max_by_key(|(prefix, _)| prefix.length()).map(|(prefix, _)| *prefix)
}
