//! Finding room for the entries of a policy's hash.

use dataplane_common::{
    BUCKET_ENTRIES, ExactBucket, ExactEntry, ExactKey, ExactSeed, PolicyHead, find_exact,
};

/// The hash of a policy, filled.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) buckets: Vec<ExactBucket>,
    pub(crate) seed: ExactSeed,
}

/// How often entries may move for one more, before another seed is tried: at half of what there is room
/// for, hardly ever more than a few times.
const MOVES: usize = 500;

impl Buckets {
    /// Finds room for entries of different keys.
    pub(crate) fn of(entries: &[(ExactKey, u64)]) -> Self {
        let mut attempt = 0;
        loop {
            // With room for twice as many; for more, should some seeds not do.
            let count = (entries.len() << (attempt / 8)).max(1);
            let seed = ExactSeed([0, 1, 2].map(|word| spread(attempt * 3 + word)));
            let mut filled = Self { buckets: vec![ExactBucket::default(); count], seed };
            let mut entries = entries.iter().map(|(key, value)| ExactEntry::new(*key, *value));
            if entries.all(|entry| filled.insert(entry)) {
                return filled;
            }
            attempt += 1;
        }
    }

    /// How many buckets there are.
    pub(crate) fn count(&self) -> u32 {
        // The loader's limits are far below.
        u32::try_from(self.buckets.len()).unwrap_or(u32::MAX)
    }

    /// The value under a key, of a policy with this head.
    pub(crate) fn find(&self, head: &PolicyHead, key: &ExactKey) -> Option<u64> {
        find_exact(head, key, |number| self.buckets.get(usize::try_from(number).ok()?))
    }

    /// Puts an entry into one of its buckets, and moves others out of its way.
    fn insert(&mut self, mut entry: ExactEntry) -> bool {
        let mut from = None;
        for turn in 0..MOVES {
            let [first, second] = self.places(&entry.key());
            for bucket in [first, second] {
                let places = &mut self.buckets[bucket].0;
                if let Some(place) = places.iter_mut().find(|place| place.is_free()) {
                    *place = entry;
                    return true;
                }
            }
            // Not back to where it was just driven from, unless both are the same.
            let bucket = if from == Some(first) { second } else { first };
            std::mem::swap(&mut self.buckets[bucket].0[turn / 2 % BUCKET_ENTRIES], &mut entry);
            from = Some(bucket);
        }
        false
    }

    fn places(&self, key: &ExactKey) -> [usize; 2] {
        self.seed.buckets(key, self.count()).map(|number| usize::try_from(number).unwrap_or(0))
    }
}

/// Some word for a number, of which all bits look alike (splitmix64).
const fn spread(number: u64) -> u64 {
    let mut word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dataplane_common::Address;
    use proptest::prelude::*;

    use super::*;

    fn head(filled: &Buckets) -> PolicyHead {
        PolicyHead::new(0, false, filled.count(), filled.seed)
    }

    /// Keys that differ in few bits, as addresses of one network do.
    fn host(number: u32) -> ExactKey {
        ExactKey::identity(&Address::from_v4(number.to_be_bytes()))
    }

    proptest! {
        #[test]
        fn what_went_in_is_found_and_nothing_else(
            entries in prop::collection::btree_map(1..600_u32, any::<u64>(), 0..300),
        ) {
            let entries: BTreeMap<u32, u64> = entries;
            let list: Vec<_> = entries.iter().map(|(key, value)| (host(*key), *value)).collect();
            let filled = Buckets::of(&list);
            for number in 0..700 {
                prop_assert_eq!(
                    filled.find(&head(&filled), &host(number)),
                    entries.get(&number).copied()
                );
            }
        }
    }

    #[test]
    fn a_large_policy_finds_room_at_once() {
        let list: Vec<_> = (0..200_000).map(|number| (host(number), number.into())).collect();
        let filled = Buckets::of(&list);
        assert_eq!(filled.buckets.len(), list.len());
        assert!(list.iter().all(|(key, value)| filled.find(&head(&filled), key) == Some(*value)));
    }

    #[test]
    fn few_keys_are_in_their_second_bucket() {
        let list: Vec<_> = (0..100_000).map(|number| (host(number), 0)).collect();
        let filled = Buckets::of(&list);
        let in_second = list.iter().filter(|(key, _)| {
            let [first, _] = filled.places(key);
            filled.buckets[first].0.iter().all(|entry| entry.key() != *key)
        });
        let share = in_second.count() * 100 / list.len();
        assert!(share < 15, "{share} %");
    }
}
