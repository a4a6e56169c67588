//! What one policy allows and another does not, by what they say of addresses: exact, whatever the
//! documents look like.
//!
//! What both say falls out. The rest is looked at for blocks of sources and destinations, which are
//! halved until each rule speaks of all of a block or of nothing in it: so it costs what is different,
//! not the pairs of all nodes.

mod blocks;
mod regions;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Action, AddressRange, AddressSet, CompileError, Filter, MAX_MEMBERSHIPS, PortRange,
    ProtocolPorts, compile::Partition, ports::first_claims,
};
use blocks::{Block, Blocks};
use regions::Regions;

/// Up to so many pairs of sources and destinations, changes are told by destination.
const MAX_PAIRS: usize = 1 << 20;

/// Flows that are allowed by one of two policies only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// By which.
    pub direction: Direction,
    /// From any of these.
    pub sources: Vec<AddressRange>,
    /// To any of these, which are of the same family.
    pub destinations: Vec<AddressRange>,
    /// By any of these.
    pub services: Vec<ProtocolPorts>,
}

/// Which of two policies allows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The new one.
    Gained,
    /// The old one.
    Lost,
}

/// Why the difference of two policies cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DifferenceError {
    /// Their sets overlap too much.
    #[error(transparent)]
    Overlap(#[from] CompileError),
    /// It is in too many pieces.
    #[error("the policies differ in too many places to tell them: compare them in smaller steps")]
    TooManyPlaces,
}

/// What one or both of the policies say of some ports.
#[derive(Clone, Copy)]
struct Said {
    action: Action,
    sources: u32,
    destinations: u32,
    what: ProtocolPorts,
    old: bool,
    new: bool,
}

/// Everything that is allowed by one of them only; no flow is in two changes.
///
/// # Errors
///
/// When there is too much to compare.
pub fn difference(old: &Filter, new: &Filter) -> Result<Vec<Change>, DifferenceError> {
    let (all, sets) = said(old, new);
    let relevant = relevant(&all);
    if relevant.is_empty() {
        return Ok(Vec::new());
    }
    let divide = |used: fn(&Said) -> u32| {
        let mut used: Vec<u32> = all.iter().map(used).collect();
        used.sort_unstable();
        used.dedup();
        let members: Vec<_> = used.into_iter().map(|set| (set, sets[set as usize])).collect();
        Partition::new(&members, sets.len(), MAX_MEMBERSHIPS)
    };
    let (sources, destinations) = (divide(|said| said.sources)?, divide(|said| said.destinations)?);
    let changed = |used: fn(&Said) -> u32| -> BTreeSet<u32> {
        relevant.iter().filter(|said| said.old != said.new).map(used).collect()
    };
    let (senders, receivers) = (changed(|said| said.sources), changed(|said| said.destinations));
    let mut changes = Vec::new();
    for is_v4 in [true, false] {
        let from = Regions::new(&sources, is_v4, &senders);
        let to = Regions::new(&destinations, is_v4, &receivers);
        let blocks = Blocks::new(&relevant, &from, &to).find()?;
        let change = |(direction, services, sources, destinations): Joined| Change {
            direction,
            services,
            sources: from.ranges(&sources),
            destinations: to.ranges(&destinations),
        };
        changes.extend(joined(blocks).into_iter().map(change));
    }
    changes.sort_by(|one, other| {
        (one.direction, &one.services).cmp(&(other.direction, &other.services))
    });
    Ok(changes)
}

/// What each of them says, each thing once, and the sets of addresses that it is said of.
fn said<'f>(old: &'f Filter, new: &'f Filter) -> (Vec<Said>, Vec<&'f AddressSet>) {
    let mut numbers: HashMap<&AddressSet, u32> = HashMap::new();
    let mut sets = Vec::new();
    let mut of_filter = |filter: &'f Filter| -> Vec<u32> {
        let number = |set: &'f std::sync::Arc<AddressSet>| {
            *numbers.entry(set).or_insert_with(|| {
                sets.push(&**set);
                u32::try_from(sets.len() - 1).unwrap_or(u32::MAX)
            })
        };
        filter.sets.iter().map(number).collect()
    };
    let numbers = [of_filter(old), of_filter(new)];
    let mut by: HashMap<(Action, u32, u32, ProtocolPorts), [bool; 2]> = HashMap::new();
    for (at, (filter, numbers)) in [old, new].into_iter().zip(numbers).enumerate() {
        for flow in &filter.flows {
            let (from, to) = (numbers[flow.sources as usize], numbers[flow.destinations as usize]);
            for what in filter.services(flow) {
                by.entry((flow.action, from, to, *what)).or_default()[at] = true;
            }
        }
    }
    let mut all = Vec::with_capacity(by.len());
    for ((action, sources, destinations, what), [old, new]) in by {
        all.push(Said { action, sources, destinations, what, old, new });
    }
    (all, sets)
}

/// What only one of them says, and what both say of the same ports.
fn relevant(all: &[Said]) -> Vec<Said> {
    let mut changed: BTreeMap<u8, Vec<(PortRange, ())>> = BTreeMap::new();
    for said in all.iter().filter(|said| said.old != said.new) {
        changed.entry(said.what.protocol).or_default().push((said.what.ports, ()));
    }
    // In order, and none overlaps another.
    let changed: BTreeMap<u8, Vec<(PortRange, ())>> =
        changed.into_iter().map(|(protocol, ports)| (protocol, first_claims(&ports))).collect();
    let concerns = |said: &&Said| {
        changed.get(&said.what.protocol).is_some_and(|changed| {
            let at = changed.partition_point(|(ports, ())| ports.last < said.what.ports.first);
            changed.get(at).is_some_and(|(ports, ())| ports.first <= said.what.ports.last)
        })
    };
    all.iter().filter(concerns).copied().collect()
}

/// A change by the numbers of regions.
type Joined = (Direction, Vec<ProtocolPorts>, Vec<u32>, Vec<u32>);

/// Destinations that the same sources gain or lose in the same way are one change.
fn joined(blocks: Vec<Block>) -> Vec<Joined> {
    let pairs: usize = blocks.iter().map(|block| block.from.len() * block.to.len()).sum();
    let mut found: BTreeMap<(Direction, Vec<ProtocolPorts>, u32), Vec<u32>> = BTreeMap::new();
    let mut joined: BTreeMap<(Direction, Vec<ProtocolPorts>, Vec<u32>), Vec<u32>> = BTreeMap::new();
    for Block { direction, services, from, to } in blocks {
        if pairs <= MAX_PAIRS {
            for to in to {
                let from = from.clone();
                found.entry((direction, services.clone(), to)).or_default().extend(from);
            }
        } else {
            joined.entry((direction, services, from.collect())).or_default().extend(to);
        }
    }
    for ((direction, services, to), mut from) in found {
        from.sort_unstable();
        joined.entry((direction, services, from)).or_default().push(to);
    }
    let change = |((direction, services, from), to)| (direction, services, from, to);
    joined.into_iter().map(change).collect()
}

/// What is in `these` and not in `those`; both are in order.
pub(crate) fn without(these: &[ProtocolPorts], those: &[ProtocolPorts]) -> Vec<ProtocolPorts> {
    let mut rest = Vec::new();
    for &ProtocolPorts { protocol, ports } in these {
        let mut next = Some(ports.first);
        for taken in those.iter().filter(|taken| taken.protocol == protocol) {
            let Some(first) = next.filter(|first| *first <= taken.ports.last) else { continue };
            if taken.ports.first > ports.last {
                break;
            }
            if first < taken.ports.first {
                let ports = PortRange { first, last: taken.ports.first - 1 };
                rest.push(ProtocolPorts { protocol, ports });
            }
            next = taken.ports.last.checked_add(1).filter(|next| *next <= ports.last);
        }
        if let Some(first) = next {
            rest.push(ProtocolPorts { protocol, ports: PortRange { first, last: ports.last } });
        }
    }
    rest
}
