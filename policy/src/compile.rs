//! From a document to tables whose lookup costs the same however many rules there are.
//!
//! A source address leads to an *identity*, the set of rules whose sources hold it; a destination
//! address leads to a *class*, the set of destinations that hold it. For each pair of them that
//! shares a rule, and each protocol, the ports are handed to the first rule that claims them.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    Action, Destination, Document, Packet, PortPrefix, PortRange, Prefix, has_ports,
    partition::Partition, ports::first_claims, prefix::mapped,
};

/// The most entries of the compiled tables: about 64 bytes of the kernel's memory each.
pub const MAX_TABLE_ENTRIES: usize = 1 << 18;
/// The most (prefix, rule) pairs that compiling may write down: bounds its time and memory when
/// many rules name many overlapping prefixes.
pub const MAX_MEMBERSHIPS: usize = 1 << 22;

/// Which set of rules a source may match. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u32);

/// Which set of destinations an address belongs to. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u32);

/// The position of a rule in its document, from zero.
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
}

/// Why a valid document cannot be put into tables: it is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// See [`MAX_TABLE_ENTRIES`].
    #[error(
        "the policy needs more than {limit} table entries: merge rules whose sources, destinations \
         or ports overlap"
    )]
    TooManyEntries {
        /// The limit.
        limit: usize,
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
    /// More sets of rules than a 32-bit number can name.
    #[error("the policy's prefixes overlap in too many ways: merge rules")]
    TooManySets,
}

/// Compiles a document.
///
/// # Errors
///
/// When the tables would be too large.
pub fn compile(document: &Document) -> Result<Compiled, CompileError> {
    let rules = document.rules();
    let sources = Partition::new(
        numbered(rules).flat_map(|(rule, index)| rule.sources.iter().map(move |net| (*net, index))),
        MAX_MEMBERSHIPS,
    )?;
    let grants: Vec<(u32, &Destination)> = numbered(rules)
        .flat_map(|(rule, index)| rule.destinations.iter().map(move |to| (index, to)))
        .collect();
    let destinations = Partition::new(
        numbered(&grants).map(|((_, to), grant)| (to.network, grant)),
        MAX_MEMBERSHIPS,
    )?;

    let mut entries = Vec::new();
    for ((identity, class), pair) in pairs(rules.len(), &grants, &sources, &destinations)? {
        for (protocol, claims) in claims(document, &grants, &pair) {
            for (range, rule) in first_claims(claims) {
                entries.extend(range.prefixes().map(|ports| Entry {
                    identity,
                    class,
                    protocol,
                    ports,
                    rule,
                    action: rules[rule.0 as usize].action,
                }));
            }
        }
        if entries.len() + sources.prefixes.len() + destinations.prefixes.len() > MAX_TABLE_ENTRIES
        {
            return Err(CompileError::TooManyEntries { limit: MAX_TABLE_ENTRIES });
        }
    }
    let named = |(prefix, id)| (prefix, Identity(id));
    Ok(Compiled {
        identities: sources.prefixes.into_iter().map(named).collect(),
        classes: destinations
            .prefixes
            .into_iter()
            .map(|(prefix, id)| (prefix, Class(id)))
            .collect(),
        entries,
        rule_count: rules.len(),
    })
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (&T, u32)> {
    items.iter().zip(0..)
}

type Pairs = BTreeMap<(Identity, Class), Vec<u32>>;

/// The grants that count between each identity and each class, in the order of their rules.
fn pairs(
    rule_count: usize,
    grants: &[(u32, &Destination)],
    sources: &Partition,
    destinations: &Partition,
) -> Result<Pairs, CompileError> {
    let mut identities_of_rule = vec![Vec::new(); rule_count];
    for (set, identity) in numbered(&sources.sets) {
        for &rule in set {
            identities_of_rule[rule as usize].push(Identity(identity));
        }
    }
    let mut pairs = Pairs::new();
    let mut memberships = 0;
    for (set, class) in numbered(&destinations.sets) {
        for &grant in set {
            let (rule, _) = grants[grant as usize];
            for &identity in &identities_of_rule[rule as usize] {
                memberships += 1;
                if memberships > MAX_MEMBERSHIPS {
                    return Err(CompileError::TooManyMemberships { limit: MAX_MEMBERSHIPS });
                }
                pairs.entry((identity, Class(class))).or_default().push(grant);
            }
        }
    }
    Ok(pairs)
}

/// What a pair's grants claim of each protocol's ports: denials first, then first rule first.
fn claims(
    document: &Document,
    grants: &[(u32, &Destination)],
    pair: &[u32],
) -> BTreeMap<u8, Vec<(PortRange, RuleIndex)>> {
    let mut claims: BTreeMap<u8, Vec<(PortRange, RuleIndex)>> = BTreeMap::new();
    let rules = document.rules();
    let of = |action| {
        pair.iter()
            .map(|&grant| grants[grant as usize])
            .filter(move |&(rule, _)| rules[rule as usize].action == action)
    };
    for (rule, destination) in of(Action::Deny).chain(of(Action::Accept)) {
        for &protocol in rules[rule as usize].protocols.numbers() {
            let claimed = claims.entry(protocol).or_default();
            if has_ports(protocol) {
                claimed.extend(destination.ports.iter().map(|&p| (p, RuleIndex(rule))));
            } else {
                claimed.push((PortRange::ALL, RuleIndex(rule)));
            }
        }
    }
    claims
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

    /// The rules between identities and classes; no two overlap.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many rules the document has.
    #[must_use]
    pub const fn rule_count(&self) -> usize {
        self.rule_count
    }

    /// The rule that decides on the packet, by the tables alone. It searches where the kernel looks
    /// up: for explanations and tests.
    #[must_use]
    pub fn find(&self, packet: &Packet) -> Option<&Entry> {
        let identity = longest(&self.identities, packet.source)?;
        let class = longest(&self.classes, packet.destination)?;
        let port = if has_ports(packet.protocol) { packet.port } else { 0 };
        self.entries.iter().find(|entry| {
            entry.identity == identity
                && entry.class == class
                && entry.protocol == packet.protocol
                && entry.ports.contains(port)
        })
    }
}

fn longest<T: Copy>(table: &[(Prefix, T)], address: IpAddr) -> Option<T> {
    table
        .iter()
        .filter(|(prefix, _)| prefix.covers(mapped(address)))
        .max_by_key(|(prefix, _)| prefix.length())
        .map(|(_, value)| *value)
}
