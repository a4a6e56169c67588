//! A valid policy document.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use proto::control::PathKinds;

use crate::{
    Diagnostics, GroupName, HostName, PortRange, Prefix, Protocols, Span, TagName, UserName, parse,
    prefix::{mapped, spanning, unmapped},
    protocol::has_ports,
};

/// The largest document that is read.
pub const MAX_DOCUMENT_BYTES: usize = 32 << 20;
/// The most rules of a document: the kernel keeps a counter for each.
pub const MAX_RULES: usize = 131_072;
/// The most rules of `paths`.
pub const MAX_PATH_RULES: usize = 1_024;
/// The most sources, destinations or port ranges in one list.
pub const MAX_SELECTORS: usize = 1_024;
/// The most members of a group, or owners of a tag.
pub const MAX_MEMBERS: usize = 16_384;

/// A policy: what is accepted. Everything else is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(crate) groups: BTreeMap<GroupName, Vec<UserName>>,
    pub(crate) hosts: BTreeMap<HostName, Prefix>,
    pub(crate) tag_owners: BTreeMap<TagName, Vec<Owner>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) relays: Vec<RelayGrant>,
    pub(crate) paths: Vec<PathRule>,
    pub(crate) tests: Vec<Test>,
}

/// Which nodes relay for which: an entry of `grants` with that capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayGrant {
    /// The line on which the grant begins.
    pub line: u32,
    /// The nodes between which packets may be relayed: both ends are among them.
    pub sources: Vec<Selector>,
    /// The nodes that may relay them.
    pub relays: Vec<Selector>,
}

/// One entry of `paths`: by which kinds of path the packets of two nodes may go, of which one is among
/// the sources and one among the destinations. Of several, the first decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// The line on which the rule begins.
    pub line: u32,
    /// Where it is written.
    pub span: Span,
    /// The nodes of one end.
    pub sources: Vec<Selector>,
    /// The nodes of the other.
    pub destinations: Vec<Selector>,
    /// The kinds that are allowed: one or more.
    pub kinds: PathKinds,
}

/// One entry of `acls` or of `grants`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The line on which the rule begins.
    pub line: u32,
    /// Where it is written.
    pub span: Span,
    /// What it decides. A deny comes before every accept, wherever it stands.
    pub action: Action,
    /// Who may open a flow.
    pub sources: Vec<Selector>,
    /// To where, and to which services there.
    pub destinations: Vec<Destination>,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Such a flow may be opened.
    Accept,
    /// It may not, whatever accepts it.
    Deny,
}

/// Whom a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `*`: every address of both families.
    Any,
    /// An address or a prefix.
    Prefix(Prefix),
    /// `10.0.0.1-10.0.0.9`: both ends included.
    Range(AddressRange),
    /// A name from `hosts`.
    Host(HostName),
    /// The nodes of a user.
    User(UserName),
    /// The nodes of a group's users.
    Group(GroupName),
    /// The nodes with a tag.
    Tag(TagName),
    /// The nodes that a built-in rule picks.
    Autogroup(Autogroup),
}

/// What is picked by a built-in rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Autogroup {
    /// `autogroup:member`: every node of a user.
    Member,
    /// `autogroup:tagged`: every node with a tag.
    Tagged,
    /// `autogroup:self`: as a destination, the nodes of the source's own user.
    Own,
    /// `autogroup:internet`: as a destination, what is not private.
    Internet,
}

/// Addresses of one family from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    /// The lowest.
    pub first: IpAddr,
    /// The highest; not below `first`.
    pub last: IpAddr,
}

/// Whom a rule lets flows be opened to, and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The addresses.
    pub selector: Selector,
    /// What may be reached there.
    pub services: Arc<[Service]>,
}

/// Protocols, and ports of those that have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// The protocols.
    pub protocols: Protocols,
    /// The ports; they do not narrow a protocol without ports.
    pub ports: PortRange,
}

/// Who may give a tag to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user.
    User(UserName),
    /// Any user of a group.
    Group(GroupName),
    /// A node with a tag.
    Tag(TagName),
    /// Any user at all: `autogroup:member`.
    Member,
}

/// One entry of `tests`: what the policy has to say to some flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The line on which the test begins.
    pub line: u32,
    /// Who opens the flows; a name that `hosts` does not have is a node's.
    pub source: Selector,
    /// By which protocols: any of them will do.
    pub protocols: Vec<Protocols>,
    /// The flows, each with what is expected of it.
    pub expectations: Vec<Expectation>,
}

/// What a test expects of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The line on which it stands.
    pub line: u32,
    /// Whether the flow shall be accepted or denied.
    pub action: Action,
    /// To where.
    pub destination: Selector,
    /// To which port.
    pub port: u16,
}

/// What a document decides on: the first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: u8,
    /// The destination's port; of no account for a protocol that has none.
    pub port: u16,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        parse::document(text)
    }

    /// The rules, in order: those of `acls`, then those of `grants`.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The grants of relaying, in order.
    #[must_use]
    pub fn relays(&self) -> &[RelayGrant] {
        &self.relays
    }

    /// The rules of paths, in order.
    #[must_use]
    pub fn paths(&self) -> &[PathRule] {
        &self.paths
    }

    /// The groups, each with its users.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<GroupName, Vec<UserName>> {
        &self.groups
    }

    /// The names of addresses and prefixes.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeMap<HostName, Prefix> {
        &self.hosts
    }

    /// The tags, each with who may give it to a node.
    #[must_use]
    pub const fn tag_owners(&self) -> &BTreeMap<TagName, Vec<Owner>> {
        &self.tag_owners
    }

    /// The document's own tests, in order.
    #[must_use]
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Whether some rule names users, groups, tags or autogroups of nodes, or is of relaying or of paths:
    /// then what it means depends on the nodes.
    #[must_use]
    pub fn names_nodes(&self) -> bool {
        !self.relays.is_empty()
            || !self.paths.is_empty()
            || self.rules.iter().any(|rule| {
                let destinations = rule.destinations.iter().map(|to| &to.selector);
                rule.sources.iter().chain(destinations).any(Selector::names_nodes)
            })
    }
}

impl Selector {
    /// Whether it is `autogroup:self`.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Autogroup(Autogroup::Own))
    }

    /// Whether it picks nodes by who they are, not addresses.
    #[must_use]
    pub const fn names_nodes(&self) -> bool {
        match self {
            Self::Any | Self::Prefix(_) | Self::Range(_) | Self::Host(_) => false,
            Self::Autogroup(Autogroup::Internet) => false,
            Self::User(_) | Self::Group(_) | Self::Tag(_) | Self::Autogroup(_) => true,
        }
    }
}

impl AddressRange {
    /// Its addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        (mapped(self.first)..=mapped(self.last)).map(unmapped)
    }

    /// The fewest prefixes that cover it.
    pub(crate) fn prefixes(&self) -> Vec<Prefix> {
        spanning(self.first, self.last)
    }
}

impl fmt::Display for AddressRange {
    /// As an address or a prefix where it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole_v6 = self.first.is_ipv6()
            && mapped(self.first) == Prefix::V6.first()
            && mapped(self.last) == Prefix::V6.last();
        match self.prefixes().as_slice() {
            _ if whole_v6 => Prefix::V6.fmt(f),
            [prefix] => prefix.fmt(f),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Service {
    /// Each protocol's number with the ports that count for it.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u8, PortRange)> {
        let ports = self.ports;
        let of = move |number| if has_ports(number) { ports } else { PortRange::ALL };
        let numbers: Vec<u8> = self.protocols.numbers().to_vec();
        numbers.into_iter().map(move |number| (number, of(number)))
    }
}
