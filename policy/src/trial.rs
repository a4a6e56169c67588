//! Running a document's own tests.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    Action, Autogroup, CompileError, Decider, Document, Expectation, Node, NodeIdentity, NodeName,
    Nodes, Packet, Plan, Protocols, RuleIndex, Selector, Test, ends::addresses, query::pairs,
};

/// What became of one expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who opens the flow.
    pub source: Selector,
    /// By which protocols: any of them will do.
    pub protocols: Vec<Protocols>,
    /// What was expected.
    pub expectation: Expectation,
    /// Why it was not met; nothing if it was.
    pub failure: Option<Failure>,
}

/// Why an expectation was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such flow.
    NoFlow(String),
    /// A flow was decided otherwise.
    Decided {
        /// The flow.
        packet: Packet,
        /// The rule that decided; without one it was denied because none accepts it.
        rule: Option<RuleIndex>,
    },
}

/// Runs the tests of a document. A user or a tag without a node has one made up for it, so that
/// tests about people do not depend on their machines.
///
/// # Errors
///
/// When the document's sets of addresses overlap too much.
pub fn try_tests(document: &Document, nodes: &Nodes) -> Result<Vec<Outcome>, CompileError> {
    if document.tests().is_empty() {
        return Ok(Vec::new());
    }
    let nodes = with_stand_ins(document, nodes);
    let decider = Decider::new(Plan::new(document.clone(), &nodes).everything())?;
    let of_test = |test: &'_ Test| -> Vec<Outcome> {
        let outcome = |expectation: &Expectation| Outcome {
            source: test.source.clone(),
            protocols: test.protocols.clone(),
            expectation: expectation.clone(),
            failure: failure(document, &nodes, &decider, test, expectation),
        };
        test.expectations.iter().map(outcome).collect()
    };
    Ok(document.tests().iter().flat_map(of_test).collect())
}

fn failure(
    document: &Document,
    nodes: &Nodes,
    decider: &Decider,
    test: &Test,
    expectation: &Expectation,
) -> Option<Failure> {
    let ends = addresses(document, nodes, &test.source)
        .and_then(|from| Ok((from, addresses(document, nodes, &expectation.destination)?)));
    let (sources, destinations) = match ends {
        Ok(ends) => ends,
        Err(reason) => return Some(Failure::NoFlow(reason)),
    };
    let mut any = false;
    for (source, destination) in pairs(&sources, &destinations) {
        let port = expectation.port;
        let packets = test.protocols.iter().filter_map(|protocol| {
            let protocol = protocol.of_family(source.is_ipv4())?;
            Some(Packet { source, destination, protocol, port })
        });
        let decided: Vec<_> = packets.map(|packet| (packet, decider.find(&packet))).collect();
        any |= !decided.is_empty();
        let accepted =
            decided.iter().find(|(_, by)| by.is_some_and(|(_, action)| action == Action::Accept));
        let wrong = match (expectation.action, accepted) {
            (Action::Accept, None) => decided.first(),
            (Action::Deny, accepted) => accepted,
            (Action::Accept, Some(_)) => None,
        };
        if let Some((packet, by)) = wrong {
            return Some(Failure::Decided { packet: *packet, rule: by.map(|(rule, _)| rule) });
        }
    }
    let (from, to) = (&test.source, &expectation.destination);
    let reason = || format!("{from} and {to} have no addresses of the same family");
    (!any).then(|| Failure::NoFlow(reason()))
}

/// The nodes, and one for each user and tag of a test that has none.
fn with_stand_ins(document: &Document, nodes: &Nodes) -> Nodes {
    let mut all = nodes.clone();
    let mut wanted: Vec<NodeIdentity> = Vec::new();
    for test in document.tests() {
        let destinations = test.expectations.iter().map(|expected| &expected.destination);
        for end in destinations.chain([&test.source]) {
            match end {
                Selector::User(user) => wanted.push(NodeIdentity::User(user.clone())),
                Selector::Group(group) => {
                    let users = document.groups().get(group).into_iter().flatten();
                    wanted.extend(users.cloned().map(NodeIdentity::User));
                }
                Selector::Tag(tag) => wanted.push(NodeIdentity::Tags(vec![tag.clone()])),
                Selector::Any
                | Selector::Prefix(_)
                | Selector::Range(_)
                | Selector::Host(_)
                | Selector::Autogroup(
                    Autogroup::Member | Autogroup::Tagged | Autogroup::Own | Autogroup::Internet,
                ) => {}
            }
        }
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for identity in wanted {
        let has = |node: &Node| match (&node.identity, &identity) {
            (NodeIdentity::Tags(tags), NodeIdentity::Tags(wanted)) => tags.contains(&wanted[0]),
            (one, other) => one == other,
        };
        let called = format!("{identity:?}");
        if seen.insert(called.clone()) && !nodes.iter().any(has) {
            // Their names cannot be written, so they are in nobody's way.
            let name = NodeName::new(&format!("({called})"));
            let addresses = free_addresses(&all);
            // No other has its name or its addresses.
            let _ = all.insert(Node { name, identity, addresses, routes: Vec::new() });
        }
    }
    all
}

/// Whether a node that was made up for a test has this address.
#[must_use]
pub fn is_made_up(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..2] == MADE_UP_V4.octets()[..2],
        IpAddr::V6(v6) => v6.segments()[..7] == MADE_UP_V6.segments()[..7],
    }
}

const MADE_UP_V4: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 0);
const MADE_UP_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0);

/// An address of each family, of blocks that nobody uses: reserved, and discard-only.
fn free_addresses(nodes: &Nodes) -> Vec<IpAddr> {
    let free = |of: fn(u16) -> IpAddr| {
        (0..=u16::MAX).map(of).find(|address| nodes.with_address(*address).is_none())
    };
    let v4 = |number: u16| Ipv4Addr::from_bits(MADE_UP_V4.to_bits() | u32::from(number)).into();
    let v6 = |number: u16| Ipv6Addr::from_bits(MADE_UP_V6.to_bits() | u128::from(number)).into();
    free(v4).into_iter().chain(free(v6)).collect()
}
