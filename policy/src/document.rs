//! A valid policy document.

use std::net::IpAddr;

use crate::{Diagnostic, PortRange, Prefix, parse};

/// The largest document that is read.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// The most rules of a document: the kernel keeps a counter for each.
pub const MAX_RULES: usize = 16_384;
/// The most sources, destinations or port ranges in one list.
pub const MAX_SELECTORS: usize = 1_024;

/// A policy: what is accepted. Everything else is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(crate) rules: Vec<Rule>,
}

/// One entry of `acls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The line on which the rule begins.
    pub line: u32,
    /// What it decides. A deny comes before every accept, wherever it stands.
    pub action: Action,
    /// Who may open a flow.
    pub sources: Vec<Network>,
    /// To where.
    pub destinations: Vec<Destination>,
    /// By which protocols.
    pub protocols: Protocols,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Such a flow may be opened.
    Accept,
    /// It may not, whatever accepts it.
    Deny,
}

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// `*`: every address of both families.
    Any,
    /// An address or a prefix.
    Prefix(Prefix),
}

/// A set of addresses, and the ports of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The addresses.
    pub network: Network,
    /// The ports; all of them for a protocol that has none.
    pub ports: Vec<PortRange>,
}

/// The protocols of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// None named: TCP, UDP and ICMP. As with Tailscale, ports do not narrow ICMP.
    Default,
    /// The one named.
    One(u8),
}

/// What a document decides on: the first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Whether packets of this protocol carry ports that a policy can name.
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

impl Protocols {
    /// Each protocol's number.
    #[must_use]
    pub const fn numbers(&self) -> &[u8] {
        match self {
            Self::Default => &[TCP, UDP, ICMP, ICMPV6],
            Self::One(number) => std::slice::from_ref(number),
        }
    }

    /// The protocol of this name or number.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let number = match name {
            "icmp" => ICMP,
            "tcp" => TCP,
            "udp" => UDP,
            "ipv6-icmp" => ICMPV6,
            "sctp" => SCTP,
            number => crate::selector::decimal(number)?,
        };
        Some(Self::One(number))
    }
}

impl Network {
    /// Whether the address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => prefix.contains(address),
        }
    }
}

impl Rule {
    /// Whether this rule speaks of the packet.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        self.protocols.numbers().contains(&packet.protocol)
            && self.sources.iter().any(|net| net.contains(packet.source))
            && self.destinations.iter().any(|destination| destination.matches(packet))
    }
}

impl Destination {
    fn matches(&self, packet: &Packet) -> bool {
        self.network.contains(packet.destination)
            && (!has_ports(packet.protocol)
                || self.ports.iter().any(|range| range.contains(packet.port)))
    }
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        parse::document(text)
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The index of the rule that decides on the packet: the first deny that speaks of it, else the
    /// first accept. The meaning of a document, rule by rule; the compiled tables answer the same,
    /// without the walk.
    #[must_use]
    pub fn first_match(&self, packet: &Packet) -> Option<usize> {
        [Action::Deny, Action::Accept].into_iter().find_map(|action| {
            self.rules.iter().position(|rule| rule.action == action && rule.matches(packet))
        })
    }
}
