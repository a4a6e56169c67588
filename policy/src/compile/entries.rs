//! The entries between identities and classes.

use super::{Class, CompileError, Entry, Identity, MAX_MEMBERSHIPS, MAX_TABLE_ENTRIES, Partition};
use crate::{Action, Filter, PortPrefix, PortRange, RuleIndex, ports::first_claims};

/// Flows from one set of sources to one set of destinations, as a range of an array.
struct Joined {
    destinations: u32,
    flows: std::ops::Range<usize>,
}

/// What one rule says of the ports of one protocol. Sorts as it counts: for each protocol, denials
/// first, then first rule first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    protocol: u8,
    accept: bool,
    rule: RuleIndex,
    ports: PortRange,
}

/// All entries, in their order.
pub(super) fn between(
    filter: &Filter,
    sources: &Partition,
    destinations: &Partition,
) -> Result<Vec<Entry>, CompileError> {
    let mut flows = filter.flows.clone();
    flows.sort_unstable_by_key(|flow| (flow.sources, flow.destinations, flow.rule));
    let mut joined_of_source: Vec<Vec<Joined>> = Vec::new();
    joined_of_source.resize_with(filter.sets.len(), Vec::new);
    let mut start = 0;
    for joined in flows.chunk_by(|a, b| (a.sources, a.destinations) == (b.sources, b.destinations))
    {
        let range = start..start + joined.len();
        start = range.end;
        joined_of_source[joined[0].sources as usize]
            .push(Joined { destinations: joined[0].destinations, flows: range });
    }

    let most =
        MAX_TABLE_ENTRIES.saturating_sub(sources.prefixes.len() + destinations.prefixes.len());
    let mut entries = Vec::new();
    let mut looked_at = 0;
    let mut reached: Vec<(Class, &Joined)> = Vec::new();
    let mut claims = Vec::new();
    for (members, identity) in sources.sets.iter().zip(0..) {
        reached.clear();
        for joined in members.iter().flat_map(|&set| &joined_of_source[set as usize]) {
            let classes = &destinations.sets_of[joined.destinations as usize];
            looked_at += classes.len();
            if looked_at > MAX_MEMBERSHIPS {
                return Err(CompileError::TooManyMemberships { limit: MAX_MEMBERSHIPS });
            }
            reached.extend(classes.iter().map(|&class| (Class(class), joined)));
        }
        reached.sort_unstable_by_key(|(class, joined)| (*class, joined.flows.start));
        for pair in reached.chunk_by(|(one, _), (other, _)| one == other) {
            claims.clear();
            for (_, joined) in pair {
                for flow in &flows[joined.flows.clone()] {
                    claims.extend(filter.services(flow).iter().map(|service| Claim {
                        protocol: service.protocol,
                        accept: flow.action == Action::Accept,
                        rule: flow.rule,
                        ports: service.ports,
                    }));
                }
            }
            append(&mut entries, Identity(identity), pair[0].0, &mut claims);
            if entries.len() > most {
                return Err(CompileError::TooManyEntries { limit: MAX_TABLE_ENTRIES });
            }
        }
    }
    Ok(entries)
}

/// Appends the entries of one pair.
fn append(entries: &mut Vec<Entry>, identity: Identity, class: Class, claims: &mut [Claim]) {
    claims.sort_unstable();
    for of_protocol in claims.chunk_by(|one, other| one.protocol == other.protocol) {
        let protocol = of_protocol[0].protocol;
        let mut push = |ports: PortPrefix, accept: bool, rule: RuleIndex| {
            let action = if accept { Action::Accept } else { Action::Deny };
            entries.push(Entry { identity, class, protocol, ports, rule, action });
        };
        if let [claim] = of_protocol {
            claim.ports.prefixes().for_each(|ports| push(ports, claim.accept, claim.rule));
            continue;
        }
        let claims: Vec<_> =
            of_protocol.iter().map(|claim| (claim.ports, (claim.accept, claim.rule))).collect();
        for (range, (accept, rule)) in first_claims(&claims) {
            range.prefixes().for_each(|ports| push(ports, accept, rule));
        }
    }
}
