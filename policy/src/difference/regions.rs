//! Addresses of one family that nothing tells apart.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
};

use crate::{
    AddressRange, Prefix,
    compile::{Lookup, Partition},
    prefix::unmapped,
};

/// The regions of one side, by number.
pub(super) struct Regions {
    ranges: Vec<Vec<AddressRange>>,
    /// The regions of each set, in order.
    of_set: Vec<Vec<u32>>,
}

impl Regions {
    /// Numbered so that those are neighbours which are in the same of these sets.
    pub(super) fn new(partition: &Partition, is_v4: bool, neighbours: &BTreeSet<u32>) -> Self {
        let mut ids: Vec<_> = ranges(&Lookup::new(&partition.prefixes), is_v4)
            .into_iter()
            .map(|(id, ranges)| {
                let sets = partition.sets[id as usize].iter();
                let sets: Vec<u32> = sets.filter(|set| neighbours.contains(set)).copied().collect();
                (sets, id, ranges)
            })
            .collect();
        ids.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let numbers: HashMap<u32, u32> = ids.iter().map(|(_, id, _)| *id).zip(0..).collect();
        let of_set = |ids: &Vec<u32>| {
            let mut regions: Vec<u32> =
                ids.iter().filter_map(|id| numbers.get(id)).copied().collect();
            regions.sort_unstable();
            regions
        };
        let of_set = partition.sets_of.iter().map(of_set).collect();
        Self { ranges: ids.into_iter().map(|(_, _, ranges)| ranges).collect(), of_set }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.ranges.len()).unwrap_or(u32::MAX)
    }

    /// How many of these regions a set has.
    pub(super) fn count_in(&self, set: u32, among: &Range<u32>) -> usize {
        let regions = &self.of_set[set as usize];
        let start = regions.partition_point(|region| *region < among.start);
        regions[start..].partition_point(|region| *region < among.end)
    }

    /// The addresses of regions.
    pub(super) fn ranges(&self, regions: &[u32]) -> Vec<AddressRange> {
        regions.iter().flat_map(|region| &self.ranges[*region as usize]).copied().collect()
    }
}

/// Where the answer changes, the addresses are cut; pieces with the same answer are put together.
fn ranges(lookup: &Lookup<u32>, is_v4: bool) -> BTreeMap<u32, Vec<AddressRange>> {
    let mut cuts = vec![0, Prefix::V4.first(), Prefix::V4.last() + 1];
    cuts.extend(lookup.steps().iter().map(|(first, _)| *first));
    cuts.sort_unstable();
    cuts.dedup();

    let mut regions: BTreeMap<u32, Vec<AddressRange>> = BTreeMap::new();
    for (at, &first) in cuts.iter().enumerate() {
        let last = cuts.get(at + 1).map_or(u128::MAX, |next| next - 1);
        let address = unmapped(first);
        let id = lookup.find(address).unwrap_or_default();
        if id == 0 || address.is_ipv4() != is_v4 {
            continue;
        }
        let ranges = regions.entry(id).or_default();
        match ranges.last_mut() {
            Some(range) if follows(range.last, address) => range.last = unmapped(last),
            _ => ranges.push(AddressRange { first: address, last: unmapped(last) }),
        }
    }
    regions
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
