//! Values by small numbers, which are used again; a generation tells an old number from a new one.

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Index {
    slot: u32,
    generation: u32,
}

impl Index {
    /// The number, which may be used again.
    pub(super) const fn slot(self) -> u32 {
        self.slot
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values, each at its index.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// The slot that the next value has; `None` if all numbers are taken.
    pub(super) fn next(&self) -> Option<u32> {
        self.free.last().copied().or_else(|| u32::try_from(self.slots.len()).ok())
    }

    /// What is in a slot now, whichever its generation.
    pub(super) fn at(&self, slot: u32) -> Option<(Index, &T)> {
        let at = self.slots.get(slot as usize)?;
        at.value.as_ref().map(|value| (Index { slot, generation: at.generation }, value))
    }

    /// Keeps a value; `None` if all numbers are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<Index> {
        if let Some(slot) = self.free.pop() {
            let at = &mut self.slots[slot as usize];
            at.value = Some(value);
            return Some(Index { slot, generation: at.generation });
        }
        let slot = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Some(Index { slot, generation: 0 })
    }

    pub(super) fn remove(&mut self, index: Index) -> Option<T> {
        let slot = self.slots.get_mut(index.slot as usize)?;
        if slot.generation != index.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index.slot);
        Some(value)
    }

    pub(super) fn get(&self, index: Index) -> Option<&T> {
        let slot = self.slots.get(index.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == index.generation)
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        let slot = self.slots.get_mut(index.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == index.generation)
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        (0..).zip(&self.slots).filter_map(|(slot, at)| {
            let index = Index { slot, generation: at.generation };
            at.value.as_ref().map(|value| (index, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_index_finds_nothing() {
        let mut slab = Slab::new();
        assert_eq!((slab.next(), slab.at(0)), (Some(0), None));
        let first = slab.insert("a").unwrap();
        assert_eq!((slab.next(), slab.at(0)), (Some(1), Some((first, &"a"))));
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").unwrap();
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"b"), 1));
        assert_eq!(slab.iter().count(), 1);
    }
}
