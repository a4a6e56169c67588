//! What a filter decides on single flows, without tables: two addresses are looked up, and what
//! joins the sets that hold them is looked at. So it costs little where the pairs of all of them
//! would be too many for tables, as between all nodes of a large mesh.

use std::net::IpAddr;

use crate::{
    Action, CompileError, Filter, FilterRule, Packet, RuleIndex,
    compile::{Lookup, Partition, partition},
};

/// See the module.
pub struct Decider {
    filter: Filter,
    sources: Side,
    destinations: Side,
    /// The flows by their sources' set, in the order of their destinations' set.
    from: Vec<Vec<FilterRule>>,
}

/// Which sets hold an address.
struct Side {
    ids: Lookup<u32>,
    sets: Vec<Vec<u32>>,
}

impl Decider {
    /// For a filter.
    ///
    /// # Errors
    ///
    /// When its sets overlap too much.
    pub fn new(filter: Filter) -> Result<Self, CompileError> {
        let sources = Side::new(&filter, |flow| flow.sources)?;
        let destinations = Side::new(&filter, |flow| flow.destinations)?;
        let mut from: Vec<Vec<FilterRule>> = vec![Vec::new(); filter.sets.len()];
        for flow in &filter.flows {
            from[flow.sources as usize].push(*flow);
        }
        for flows in &mut from {
            flows.sort_unstable_by_key(|flow| (flow.destinations, flow.rule));
        }
        Ok(Self { filter, sources, destinations, from })
    }

    /// The rule that decides on the packet: the first deny that speaks of it, else the first accept.
    #[must_use]
    pub fn find(&self, packet: &Packet) -> Option<(RuleIndex, Action)> {
        let to = self.destinations.sets_with(packet.destination);
        let mut first: [Option<RuleIndex>; 2] = [None; 2];
        for &set in self.sources.sets_with(packet.source) {
            for flow in joining(&self.from[set as usize], to) {
                let first = &mut first[usize::from(flow.action == Action::Accept)];
                let earlier = first.is_none_or(|first| flow.rule < first);
                if earlier && self.filter.services(flow).iter().any(|one| one.matches(packet)) {
                    *first = Some(flow.rule);
                }
            }
        }
        let [deny, accept] = first;
        let accept = || accept.map(|rule| (rule, Action::Accept));
        deny.map(|rule| (rule, Action::Deny)).or_else(accept)
    }
}

impl Side {
    fn new(filter: &Filter, used: impl Fn(&FilterRule) -> u32) -> Result<Self, CompileError> {
        let Partition { prefixes, sets, .. } = partition(filter, used)?;
        Ok(Self { ids: Lookup::new(&prefixes), sets })
    }

    /// The sets that hold the address, in order.
    fn sets_with(&self, address: IpAddr) -> &[u32] {
        self.ids.find(address).map_or(&[], |id| &self.sets[id as usize])
    }
}

/// The flows to one of these sets; both are in order. Walks the shorter list, and finds in the longer.
fn joining<'a>(
    flows: &'a [FilterRule],
    to: &'a [u32],
) -> Box<dyn Iterator<Item = &'a FilterRule> + 'a> {
    if flows.len() <= to.len() {
        return Box::new(flows.iter().filter(|flow| to.binary_search(&flow.destinations).is_ok()));
    }
    Box::new(to.iter().flat_map(|set| {
        let start = flows.partition_point(|flow| flow.destinations < *set);
        flows[start..].iter().take_while(move |flow| flow.destinations == *set)
    }))
}
