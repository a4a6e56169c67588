//! Finding room for the entries of a policy's hash.

use dataplane_common::{
    BUCKET_ENTRIES, ExactBucket, ExactEntry, ExactKey, ExactSeed, Found, PolicyHead, find_exact,
};

/// The hash of a policy, filled.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) buckets: Vec<ExactBucket>,
    pub(crate) seed: ExactSeed,
}

/// How often entries may move for one more, before another seed is tried: with as much room as there
/// is, hardly ever more than a few times.
const MOVES: usize = 500;

impl Buckets {
    /// Finds room for entries of different keys.
    pub(crate) fn of(entries: &[ExactEntry]) -> Self {
        let mut attempt = 0;
        loop {
            // With room for two and a half times as many; for more, should some seeds not do.
            let count = ((entries.len() * 5 / 4) << (attempt / 8)).max(1);
            let seed = ExactSeed::from_words([0, 1, 2].map(|word| spread(attempt * 3 + word)));
            let mut filled = Self { buckets: vec![ExactBucket::default(); count], seed };
            if entries.iter().all(|entry| filled.insert(*entry)) {
                filled.note_overflows();
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

    /// What is under a key, of a policy with this head.
    pub(crate) fn find(&self, head: &PolicyHead, key: &ExactKey) -> Option<Found> {
        find_exact(head, key, |number| self.buckets.get(usize::try_from(number).ok()?))
    }

    /// Puts an entry into one of its buckets, and moves others out of its way.
    fn insert(&mut self, mut entry: ExactEntry) -> bool {
        let mut from = None;
        for turn in 0..MOVES {
            let [first, second] = self.places(&entry.key());
            if [first, second].into_iter().any(|bucket| self.buckets[bucket].take_in(entry)) {
                return true;
            }
            // Not back to where it was just driven from, unless both are the same.
            let bucket = if from == Some(first) { second } else { first };
            std::mem::swap(&mut self.buckets[bucket].0[turn / 2 % BUCKET_ENTRIES], &mut entry);
            from = Some(bucket);
        }
        false
    }

    /// Notes which buckets have keys elsewhere.
    fn note_overflows(&mut self) {
        for bucket in 0..self.buckets.len() {
            for entry in self.buckets[bucket].entries() {
                let [first, _] = self.places(&entry.key());
                if first != bucket {
                    self.buckets[first].note_overflow();
                }
            }
        }
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
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use std::collections::BTreeMap;

    use dataplane_common::{Address, Class, Identity, Ports};
    use proptest::prelude::*;

    use super::*;

    fn head(filled: &Buckets) -> PolicyHead {
        PolicyHead::new(0, false, filled.count(), filled.seed)
    }

    /// Keys that differ in few bits, as addresses of one network do.
    fn address(number: u32) -> Address {
        Address::from_v4(number.to_be_bytes())
    }

    fn of_number(number: u32) -> ExactEntry {
        ExactEntry::new(ExactKey::class(&address(number)), number.into())
    }

    proptest! {
        #[test]
        fn what_went_in_is_found_and_nothing_else(
            entries in prop::collection::btree_map(1..600_u32, any::<Option<u64>>(), 0..300),
        ) {
            let entries: BTreeMap<u32, Option<u64>> = entries;
            // Sources with a rule beside them, and values of other keys.
            let list: Vec<_> = entries.iter().map(|(number, rule)| match rule {
                Some(ports) => {
                    let rule = (Class(*number), 6, Ports(*ports));
                    ExactEntry::source(&address(*number), Identity(*number), Some(rule))
                }
                None => of_number(*number),
            }).collect();
            let filled = Buckets::of(&list);
            let find = |key| filled.find(&head(&filled), &key);
            for number in 0..700 {
                let expected = entries.get(&number);
                let source = find(ExactKey::identity(&address(number)));
                let ports = expected.copied().flatten().map(Ports);
                prop_assert_eq!(source.map(|found| found.identity()), ports.map(|_| Identity(number)));
                prop_assert_eq!(source.and_then(|found| found.beside(Class(number), 6)), ports);
                prop_assert_eq!(source.and_then(|found| found.beside(Class(number), 17)), None);
                prop_assert_eq!(source.and_then(|found| found.beside(Class(number + 1), 6)), None);
                let other = find(ExactKey::class(&address(number))).map(|found| found.value);
                let value = expected.is_some_and(Option::is_none).then_some(number.into());
                prop_assert_eq!(other, value);
            }
        }
    }

    #[test]
    fn the_largest_source_and_rule_are_kept_apart() {
        let (identity, class) = (Identity((1 << 23) - 1), Class((1 << 24) - 1));
        let entry = ExactEntry::source(&address(7), identity, Some((class, 255, Ports(u64::MAX))));
        let filled = Buckets::of(&[entry]);
        let found = filled.find(&head(&filled), &ExactKey::identity(&address(7))).unwrap();
        assert_eq!(found.identity(), identity);
        assert_eq!(found.beside(class, 255), Some(Ports(u64::MAX)));
        assert_eq!(found.beside(Class::NONE, 255), None);
    }

    #[test]
    fn a_large_policy_finds_room_at_once() {
        let list: Vec<_> = (0..200_000).map(of_number).collect();
        let filled = Buckets::of(&list);
        assert_eq!(filled.buckets.len(), 250_000);
        let value = |entry: &ExactEntry| filled.find(&head(&filled), &entry.key());
        assert!((0..).zip(&list).all(|(number, entry)| value(entry).unwrap().value == number));
    }

    #[test]
    fn few_keys_are_in_their_second_bucket() {
        let list: Vec<_> = (0..100_000).map(of_number).collect();
        let filled = Buckets::of(&list);
        let in_second = list.iter().filter(|entry| {
            let [first, _] = filled.places(&entry.key());
            filled.buckets[first].find(&entry.key()).is_none()
        });
        let share = in_second.count() * 100 / list.len();
        assert!(share < 10, "{share} %");
    }
}
