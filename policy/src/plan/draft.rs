//! From the grants that concern a node to its filter.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::{Grant, ServiceLists};
use crate::{AddressSet, Filter, FilterRule, RuleIndex};

/// A filter in the making.
#[derive(Default)]
pub(super) struct Draft<'a> {
    flows: Vec<DraftFlow<'a>>,
}

struct DraftFlow<'a> {
    position: u32,
    grant: &'a Grant,
    from: &'a Arc<AddressSet>,
    to: &'a Arc<AddressSet>,
}

impl<'a> Draft<'a> {
    pub(super) fn push(
        &mut self,
        position: u32,
        grant: &'a Grant,
        from: &'a Arc<AddressSet>,
        to: &'a Arc<AddressSet>,
    ) {
        if !from.is_empty() && !to.is_empty() {
            self.flows.push(DraftFlow { position, grant, from, to });
        }
    }

    pub(super) fn finish(mut self, known: &ServiceLists) -> Filter {
        self.flows.sort_by_key(|flow| flow.position);
        let mut filter = Filter::default();
        // Equal sets that two parties resolved to are rare: by place is enough, and fast.
        let mut sets: Numbered<*const AddressSet> = HashMap::default();
        let mut services: Numbered<u32> = HashMap::default();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        filter.flows.reserve(self.flows.len());
        for DraftFlow { grant, from, to, .. } in self.flows {
            let Grant { rule, action, services: what, .. } = *grant;
            if filter.rules.last() != Some(&rule) {
                filter.rules.push(rule);
            }
            let mut set = |set: &Arc<AddressSet>| {
                *sets.entry(Arc::as_ptr(set)).or_insert_with(|| {
                    filter.sets.push(Arc::clone(set));
                    count(filter.sets.len() - 1)
                })
            };
            let (sources, destinations) = (set(from), set(to));
            let services = *services.entry(what).or_insert_with(|| {
                filter.services.push(Arc::clone(&known.lists[what as usize]));
                count(filter.services.len() - 1)
            });
            let rule = RuleIndex(count(filter.rules.len() - 1));
            filter.flows.push(FilterRule { rule, action, sources, destinations, services });
        }
        filter
    }
}

/// What got which number. Looked up for every flow of every filter, so hashed by one
/// multiplication: the keys are ours, nobody can choose them to collide.
type Numbered<K> = HashMap<K, u32, BuildHasherDefault<Multiplied>>;

#[derive(Default)]
struct Multiplied(u64);

impl Hasher for Multiplied {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table looks at the lowest and the highest bits; the product mixes upward.
        self.0.rotate_left(32)
    }
}
