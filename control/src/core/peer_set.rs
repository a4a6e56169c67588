//! A set of nodes, one bit each: what a node was told of, for each of ten thousand.

/// A node's place in its tenant; never given again while the tenant is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSet(Vec<u64>);

impl PeerSet {
    /// Puts it in; tells whether it was not there.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Takes it out; tells whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        let Some(word) = self.0.get_mut(word) else { return false };
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// All that are in, in order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        (0u32..).zip(&self.0).flat_map(|(word, &bits)| {
            (0..u64::BITS)
                .filter(move |bit| bits >> bit & 1 == 1)
                .map(move |bit| Slot(word * u64::BITS + bit))
        })
    }
}

const fn place(Slot(slot): Slot) -> (usize, u64) {
    ((slot / u64::BITS) as usize, 1 << (slot % u64::BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps: Vec<(bool, u8)>) {
            let (mut set, mut model) = (PeerSet::default(), BTreeSet::new());
            for (insert, slot) in steps {
                let slot = Slot(slot.into());
                if insert {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
                prop_assert_eq!(set.contains(slot), model.contains(&slot));
            }
            prop_assert!(set.iter().eq(model));
        }
    }
}
