//! What one policy allows and another does not, by their tables: exact, whatever the documents look
//! like.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
};

use crate::{
    Action, AddressRange, Class, Compiled, Entry, PortRange, Prefix, ProtocolPorts,
    compile::Lookup, prefix::unmapped,
};

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

/// Addresses of one family that neither policy tells apart.
struct Region<T> {
    old: T,
    new: T,
    is_v4: bool,
    ranges: Vec<AddressRange>,
}

/// Everything that is allowed by one of them only; no flow is in two changes.
#[must_use]
pub fn difference(old: &Compiled, new: &Compiled) -> Vec<Change> {
    let sources = regions(old.source_ranges(), new.source_ranges());
    let destinations = regions(old.destination_ranges(), new.destination_ranges());
    let mut by_class: [HashMap<Class, Vec<usize>>; 2] = Default::default();
    for (at, region) in destinations.iter().enumerate() {
        by_class[0].entry(region.old).or_default().push(at);
        by_class[1].entry(region.new).or_default().push(at);
    }

    // For each kind of change and destination, the sources that it concerns.
    let mut found: BTreeMap<(Direction, Vec<ProtocolPorts>, usize), Vec<usize>> = BTreeMap::new();
    for (from, source) in sources.iter().enumerate() {
        let mut reached = BTreeSet::new();
        for (policy, identity, by_class) in
            [(old, source.old, &by_class[0]), (new, source.new, &by_class[1])]
        {
            for class in policy.classes_from(identity) {
                reached.extend(by_class.get(&class).into_iter().flatten().copied());
            }
        }
        for to in reached {
            let destination = &destinations[to];
            if destination.is_v4 != source.is_v4 {
                continue;
            }
            let before = accepted(old.between(source.old, destination.old));
            let after = accepted(new.between(source.new, destination.new));
            for (direction, services) in [
                (Direction::Gained, without(&after, &before)),
                (Direction::Lost, without(&before, &after)),
            ] {
                if !services.is_empty() {
                    found.entry((direction, services, to)).or_default().push(from);
                }
            }
        }
    }

    // Destinations that the same sources gain or lose in the same way are one change.
    let mut joined: BTreeMap<(Direction, Vec<ProtocolPorts>, Vec<usize>), Vec<usize>> =
        BTreeMap::new();
    for ((direction, services, to), from) in found {
        joined.entry((direction, services, from)).or_default().push(to);
    }
    let change = |((direction, services, from), to): ((_, _, Vec<usize>), Vec<usize>)| Change {
        direction,
        services,
        sources: from.iter().flat_map(|&at| sources[at].ranges.iter().copied()).collect(),
        destinations: to.iter().flat_map(|&at| destinations[at].ranges.iter().copied()).collect(),
    };
    joined.into_iter().map(change).collect()
}

/// Where either policy's answer changes, the addresses are cut; equal pieces are put together.
fn regions<T: Copy + Eq + Hash + Ord + Default>(
    old: &Lookup<T>,
    new: &Lookup<T>,
) -> Vec<Region<T>> {
    let block = [Prefix::V4.first(), Prefix::V4.last() + 1];
    let mut cuts: BTreeSet<u128> = BTreeSet::from(block);
    cuts.insert(0);
    cuts.extend(old.steps().iter().chain(new.steps()).map(|(first, _)| *first));
    let cuts: Vec<u128> = cuts.into_iter().collect();

    let mut regions: BTreeMap<(bool, T, T), Vec<AddressRange>> = BTreeMap::new();
    for (at, &first) in cuts.iter().enumerate() {
        let last = cuts.get(at + 1).map_or(u128::MAX, |next| next - 1);
        let address = unmapped(first);
        let answer = |lookup: &Lookup<T>| lookup.find(address).unwrap_or_default();
        let ids = (address.is_ipv4(), answer(old), answer(new));
        if ids.1 == T::default() && ids.2 == T::default() {
            continue;
        }
        let ranges = regions.entry(ids).or_default();
        match ranges.last_mut() {
            Some(range) if follows(range.last, address) => range.last = unmapped(last),
            _ => ranges.push(AddressRange { first: address, last: unmapped(last) }),
        }
    }
    let region = |((is_v4, old, new), ranges)| Region { old, new, is_v4, ranges };
    regions.into_iter().map(region).collect()
}

/// Whether `next` is the address after `last`. The block of mapped IPv4 addresses is no gap.
fn follows(last: IpAddr, next: IpAddr) -> bool {
    match (last, next) {
        (IpAddr::V4(last), IpAddr::V4(next)) => {
            last.to_bits().checked_add(1) == Some(next.to_bits())
        }
        (IpAddr::V6(last), IpAddr::V6(next)) => {
            let after = last.to_bits().checked_add(1);
            let after =
                after.map(|at| if at == Prefix::V4.first() { Prefix::V4.last() + 1 } else { at });
            after == Some(next.to_bits())
        }
        _ => false,
    }
}

/// What the entries of one pair accept, in order, neighbours joined.
fn accepted(entries: &[Entry]) -> Vec<ProtocolPorts> {
    let mut accepted: Vec<ProtocolPorts> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.action == Action::Accept) {
        let (first, last) = (entry.ports.port, entry.ports.last());
        match accepted.last_mut() {
            Some(before)
                if before.protocol == entry.protocol
                    && before.ports.last.checked_add(1) == Some(first) =>
            {
                before.ports.last = last;
            }
            _ => accepted
                .push(ProtocolPorts { protocol: entry.protocol, ports: PortRange { first, last } }),
        }
    }
    accepted
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
