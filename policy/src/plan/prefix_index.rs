//! Who has which prefix, so that those who overlap another are found without a walk over all.

use std::collections::BTreeMap;

use crate::Prefix;

/// Numbers by prefix.
pub(super) struct PrefixIndex {
    /// By family, first address, length: what a prefix encloses comes right after it.
    owners: BTreeMap<(bool, u128, u8), (Prefix, Vec<u32>)>,
    /// How many prefixes there are of each length of the common space, for each family.
    lengths: [[u32; 129]; 2],
}

impl PrefixIndex {
    pub(super) fn new() -> Self {
        Self { owners: BTreeMap::new(), lengths: [[0; 129]; 2] }
    }

    pub(super) fn insert(&mut self, prefix: Prefix, owner: u32) {
        let (_, owners) = self.owners.entry(prefix.order()).or_insert_with(|| (prefix, Vec::new()));
        if owners.is_empty() {
            self.lengths[usize::from(prefix.is_v4())][usize::from(prefix.length())] += 1;
        }
        owners.push(owner);
    }

    pub(super) fn remove(&mut self, prefix: Prefix, owner: u32) {
        let Some((_, owners)) = self.owners.get_mut(&prefix.order()) else { return };
        if let Some(at) = owners.iter().position(|other| *other == owner) {
            owners.swap_remove(at);
        }
        if owners.is_empty() {
            self.owners.remove(&prefix.order());
            self.lengths[usize::from(prefix.is_v4())][usize::from(prefix.length())] -= 1;
        }
    }

    /// Those at this prefix and those that it encloses.
    pub(super) fn enclosed(&self, by: Prefix) -> impl Iterator<Item = (Prefix, &[u32])> {
        let is_v6 = !by.is_v4();
        self.owners
            .range((is_v6, by.first(), by.length())..=(is_v6, by.last(), u8::MAX))
            .map(|(_, (prefix, owners))| (*prefix, owners.as_slice()))
    }

    /// Those that enclose this prefix and are wider, the longest first.
    pub(super) fn enclosing(&self, inner: Prefix) -> impl Iterator<Item = (Prefix, &[u32])> {
        let lengths = &self.lengths[usize::from(inner.is_v4())];
        let shortest = if inner.is_v4() { Prefix::V4.length() } else { 0 };
        (shortest..inner.length())
            .rev()
            .filter(|length| lengths[usize::from(*length)] > 0)
            .filter_map(move |length| self.owners.get(&inner.widened(length).order()))
            .map(|(prefix, owners)| (*prefix, owners.as_slice()))
    }

    /// Those at just this prefix.
    pub(super) fn at(&self, prefix: Prefix) -> &[u32] {
        self.owners.get(&prefix.order()).map_or(&[], |(_, owners)| owners)
    }
}
