//! What a document means, rule by rule, with its names as they are. The tables are held to it: it
//! shares no step with the way that leads to them.

use std::net::IpAddr;

use crate::{
    Action, Autogroup, Document, Node, NodeIdentity, Nodes, Packet, PathRule, Rule, Selector,
    internet::is_public, protocol::has_ports,
};

impl Document {
    /// The index of the rule that decides on the packet: the first deny that speaks of it, else
    /// the first accept.
    #[must_use]
    pub fn first_match(&self, nodes: &Nodes, packet: &Packet) -> Option<usize> {
        [Action::Deny, Action::Accept].into_iter().find_map(|action| {
            let speaks = |rule: &Rule| rule.action == action && self.speaks(rule, nodes, packet);
            self.rules().iter().position(speaks)
        })
    }

    /// The rule of paths that decides between two nodes: the first that has one among its sources and
    /// the other among its destinations.
    #[must_use]
    pub fn path_rule(&self, nodes: &Nodes, one: &Node, other: &Node) -> Option<&PathRule> {
        let among = |selectors: &[Selector], node: &Node| {
            let picks = |at: &IpAddr| selectors.iter().any(|one| self.picks(one, nodes, *at));
            node.addresses.iter().any(picks)
        };
        let joins = |rule: &&PathRule, from, to| {
            among(&rule.sources, from) && among(&rule.destinations, to)
        };
        self.paths.iter().find(|rule| joins(rule, one, other) || joins(rule, other, one))
    }

    fn speaks(&self, rule: &Rule, nodes: &Nodes, packet: &Packet) -> bool {
        let from = |source| self.picks(source, nodes, packet.source);
        rule.sources.iter().any(from)
            && rule.destinations.iter().any(|to| {
                let reached = match to.selector {
                    Selector::Autogroup(Autogroup::Own) => same_user(nodes, packet),
                    _ => self.picks(&to.selector, nodes, packet.destination),
                };
                reached
                    && to.services.iter().any(|service| {
                        service.protocols.numbers().contains(&packet.protocol)
                            && (!has_ports(packet.protocol) || service.ports.contains(packet.port))
                    })
            })
    }

    fn picks(&self, selector: &Selector, nodes: &Nodes, address: IpAddr) -> bool {
        let identity = || nodes.with_address(address).map(|node| &node.identity);
        let user = || match identity() {
            Some(NodeIdentity::User(user)) => Some(user),
            Some(NodeIdentity::Tags(_)) | None => None,
        };
        let tags = || match identity() {
            Some(NodeIdentity::Tags(tags)) => Some(tags),
            Some(NodeIdentity::User(_)) | None => None,
        };
        match selector {
            Selector::Any => true,
            Selector::Prefix(prefix) => prefix.contains(address),
            Selector::Range(range) => {
                range.first.is_ipv4() == address.is_ipv4()
                    && (range.first..=range.last).contains(&address)
            }
            Selector::Host(name) => self.hosts()[name].contains(address),
            Selector::User(name) => user() == Some(name),
            Selector::Group(name) => user().is_some_and(|user| self.groups()[name].contains(user)),
            Selector::Tag(tag) => tags().is_some_and(|tags| tags.contains(tag)),
            Selector::Autogroup(Autogroup::Member) => user().is_some(),
            Selector::Autogroup(Autogroup::Tagged) => tags().is_some(),
            Selector::Autogroup(Autogroup::Internet) => is_public(address),
            // It depends on the source: see `same_user`.
            Selector::Autogroup(Autogroup::Own) => false,
        }
    }
}

fn same_user(nodes: &Nodes, packet: &Packet) -> bool {
    let identity = |address| nodes.with_address(address).map(|node| &node.identity);
    match (identity(packet.source), identity(packet.destination)) {
        (Some(NodeIdentity::User(from)), Some(NodeIdentity::User(to))) => from == to,
        _ => false,
    }
}
