//! What one node enforces: the rules that concern it, by addresses alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Action, AddressSet, CompileError, Compiled, Packet, PortRange, Prefix, RuleIndex,
    compile::compile_filter, parse::selector, protocol::has_ports,
};

/// A rule of a [`Plan`](crate::Plan): it stays when rules before it come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId(pub u32);

/// Ports of one protocol; all of them for a protocol that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolPorts {
    /// The protocol's number.
    pub protocol: u8,
    /// The ports.
    pub ports: PortRange,
}

/// Rules with names and groups resolved to addresses. Sets that rules share are there once.
///
/// As JSON, a rule takes at most [`Filter::WIRE_BYTES_PER_RULE`] bytes beside the sets that it is
/// the only one to use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub struct Filter {
    pub(crate) rules: Vec<RuleId>,
    pub(crate) sets: Vec<Arc<AddressSet>>,
    pub(crate) services: Vec<Arc<[ProtocolPorts]>>,
    pub(crate) flows: Vec<FilterRule>,
}

/// Flows that a rule speaks of: from these sources to these services of these destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterRule {
    /// The rule, by its position among those of the filter.
    pub rule: RuleIndex,
    /// What it decides.
    pub action: Action,
    pub(crate) sources: u32,
    pub(crate) destinations: u32,
    pub(crate) services: u32,
}

impl ProtocolPorts {
    /// Whether the packet is of this protocol, to one of these ports.
    #[must_use]
    pub const fn matches(&self, packet: &Packet) -> bool {
        self.protocol == packet.protocol
            && (!has_ports(packet.protocol) || self.ports.contains(packet.port))
    }
}

impl Filter {
    /// The most that one more rule adds to the JSON of a filter, its own sets aside.
    pub const WIRE_BYTES_PER_RULE: usize = 40;

    /// The rules that the filter is made of, in the order of the document.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }

    /// What the rules say, in the order of the document.
    #[must_use]
    pub fn flows(&self) -> &[FilterRule] {
        &self.flows
    }

    /// Its sets of addresses. Plans give filters the same one for as long as it does not change.
    #[must_use]
    pub fn sets(&self) -> &[Arc<AddressSet>] {
        &self.sets
    }

    /// All else of it.
    #[must_use]
    pub fn without_sets(&self) -> Self {
        Self { sets: Vec::new(), ..self.clone() }
    }

    /// Whether nothing but sets differs.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.rules, &self.services, &self.flows) == (&other.rules, &other.services, &other.flows)
    }

    /// The sources of one of its flows.
    #[must_use]
    pub fn sources(&self, flow: &FilterRule) -> &AddressSet {
        &self.sets[flow.sources as usize]
    }

    /// The destinations of one of its flows.
    #[must_use]
    pub fn destinations(&self, flow: &FilterRule) -> &AddressSet {
        &self.sets[flow.destinations as usize]
    }

    /// The services of one of its flows.
    #[must_use]
    pub fn services(&self, flow: &FilterRule) -> &[ProtocolPorts] {
        &self.services[flow.services as usize]
    }

    /// The rule that decides on the packet: the first deny that speaks of it, else the first
    /// accept. By a walk over all of them, where [`Compiled::find`] looks up.
    #[must_use]
    pub fn first_match(&self, packet: &Packet) -> Option<RuleId> {
        let matches = |flow: &&FilterRule| {
            self.sources(flow).contains(packet.source)
                && self.destinations(flow).contains(packet.destination)
                && self.services(flow).iter().any(|service| service.matches(packet))
        };
        let first = |action| {
            let of_action = self.flows.iter().filter(|flow| flow.action == action);
            of_action.filter(matches).map(|flow| flow.rule).min()
        };
        first(Action::Deny)
            .or_else(|| first(Action::Accept))
            .map(|rule| self.rules[rule.0 as usize])
    }

    /// The tables of this filter.
    ///
    /// # Errors
    ///
    /// When they would be too large.
    pub fn compile(&self) -> Result<Compiled, CompileError> {
        compile_filter(self)
    }
}

/// A filter as it is sent.
#[derive(Serialize, Deserialize)]
struct Wire {
    rules: Vec<RuleId>,
    sets: Vec<Vec<WirePrefix>>,
    /// Protocol, first port, last port.
    services: Vec<Vec<(u8, u16, u16)>>,
    /// Rule, one for a deny, sources, destinations, services.
    flows: Vec<(u32, u8, u32, u32, u32)>,
}

#[derive(Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[derive(Clone)]
struct WirePrefix(Prefix);

impl From<WirePrefix> for String {
    fn from(prefix: WirePrefix) -> Self {
        prefix.0.to_string()
    }
}

impl TryFrom<String> for WirePrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        selector::prefix(&text).map(Self).map_err(|fault| fault.reason)
    }
}

impl From<Filter> for Wire {
    fn from(filter: Filter) -> Self {
        let service = |of: &ProtocolPorts| (of.protocol, of.ports.first, of.ports.last);
        Self {
            rules: filter.rules,
            sets: filter
                .sets
                .iter()
                .map(|set| set.prefixes().iter().copied().map(WirePrefix).collect())
                .collect(),
            services: filter
                .services
                .iter()
                .map(|services| services.iter().map(service).collect())
                .collect(),
            flows: filter
                .flows
                .iter()
                .map(|flow| {
                    let deny = u8::from(flow.action == Action::Deny);
                    (flow.rule.0, deny, flow.sources, flow.destinations, flow.services)
                })
                .collect(),
        }
    }
}

impl TryFrom<Wire> for Filter {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let service = |(protocol, first, last): (u8, u16, u16)| {
            let right = first <= last && (has_ports(protocol) || (first, last) == (0, u16::MAX));
            right
                .then_some(ProtocolPorts { protocol, ports: PortRange { first, last } })
                .ok_or_else(|| format!("protocol {protocol} with ports {first} to {last}"))
        };
        let services =
            wire.services.into_iter().map(|list| list.into_iter().map(service).collect());
        let services: Vec<Arc<[ProtocolPorts]>> = services.collect::<Result<_, _>>()?;
        let sets: Vec<Arc<AddressSet>> = wire
            .sets
            .into_iter()
            .map(|set| Arc::new(set.into_iter().map(|prefix| prefix.0).collect()))
            .collect();
        let flow = |(rule, deny, from, to, what): (u32, u8, u32, u32, u32)| {
            let within = (rule as usize) < wire.rules.len()
                && (from.max(to) as usize) < sets.len()
                && (what as usize) < services.len();
            let action = match deny {
                0 => Action::Accept,
                1 => Action::Deny,
                _ => return Err(format!("{deny} is no action")),
            };
            let rule = RuleIndex(rule);
            within
                .then_some(FilterRule {
                    rule,
                    action,
                    sources: from,
                    destinations: to,
                    services: what,
                })
                .ok_or_else(|| "a flow names what the filter does not have".to_owned())
        };
        let flows = wire.flows.into_iter().map(flow).collect::<Result<_, _>>()?;
        Ok(Self { rules: wire.rules, sets, services, flows })
    }
}
