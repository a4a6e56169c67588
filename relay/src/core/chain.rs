//! An order of slots, from which any one can leave at once.

/// No slot.
const NONE: u32 = u32::MAX;

/// Slots of some table, one after the other.
#[derive(Debug)]
pub(super) struct Chain {
    /// Of each slot the one before and the one after it.
    links: Vec<(u32, u32)>,
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { links: Vec::new(), first: NONE, last: NONE }
    }
}

impl Chain {
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Appends a slot that is not in the chain.
    pub(super) fn push(&mut self, slot: u32) {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, (NONE, NONE));
        }
        self.links[slot as usize] = (self.last, NONE);
        let last = self.last;
        *self.after(last) = slot;
        self.last = slot;
    }

    /// Takes out a slot that is in the chain.
    pub(super) fn remove(&mut self, slot: u32) {
        let (before, after) = self.links[slot as usize];
        *self.after(before) = after;
        match self.links.get_mut(after as usize) {
            Some(link) => link.0 = before,
            None => self.last = before,
        }
    }

    /// What says which slot comes after this one; after none comes the first.
    fn after(&mut self, slot: u32) -> &mut u32 {
        match self.links.get_mut(slot as usize) {
            Some(link) => &mut link.1,
            None => &mut self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_are_in_the_order_in_which_they_came(
            slots in proptest::collection::vec(0..20_u32, 0..200),
        ) {
            let mut chain = Chain::default();
            let mut wanted: Vec<u32> = Vec::new();
            // Each leaves if it is there, else comes.
            for slot in slots {
                match wanted.iter().position(|&there| there == slot) {
                    Some(at) => {
                        wanted.remove(at);
                        chain.remove(slot);
                    }
                    None => {
                        wanted.push(slot);
                        chain.push(slot);
                    }
                }
                prop_assert_eq!(chain.first(), wanted.first().copied());
            }
            let rest = std::iter::from_fn(|| chain.first().inspect(|&slot| chain.remove(slot)));
            prop_assert_eq!(rest.collect::<Vec<_>>(), wanted);
        }
    }
}
