//! Who has most: a heap in which a weight can change.

/// Where one is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u32);

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    weight: usize,
    ticket: Ticket,
    who: T,
}

/// All that have something, the heaviest first. Each change costs at most the heap's height.
#[derive(Debug)]
pub(super) struct Heaviest<T> {
    heap: Vec<Entry<T>>,
    /// Where in the heap each ticket is.
    places: Vec<u32>,
    free: Vec<Ticket>,
    /// Entries that changed places, to be held to the promise above.
    #[cfg(test)]
    pub(super) moves: usize,
}

impl<T> Default for Heaviest<T> {
    fn default() -> Self {
        Self {
            heap: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            #[cfg(test)]
            moves: 0,
        }
    }
}

impl<T: Copy> Heaviest<T> {
    /// Who has most, and how much.
    pub(super) fn first(&self) -> Option<(T, usize)> {
        self.heap.first().map(|entry| (entry.who, entry.weight))
    }

    /// Someone has this much from now on; who has nothing needs no ticket.
    pub(super) fn weigh(&mut self, ticket: &mut Option<Ticket>, who: T, weight: usize) {
        match *ticket {
            None if weight == 0 => {}
            None => *ticket = self.add(who, weight),
            Some(known) if weight == 0 => {
                self.remove(known);
                *ticket = None;
            }
            Some(known) => {
                let at = self.place(known);
                self.heap[at].weight = weight;
                self.settle(at);
            }
        }
    }

    fn add(&mut self, who: T, weight: usize) -> Option<Ticket> {
        let ticket = match self.free.pop() {
            Some(ticket) => ticket,
            None => {
                let ticket = Ticket(u32::try_from(self.places.len()).ok()?);
                self.places.push(0);
                ticket
            }
        };
        self.heap.push(Entry { weight, ticket, who });
        self.settle(self.heap.len() - 1);
        Some(ticket)
    }

    fn remove(&mut self, ticket: Ticket) {
        let at = self.place(ticket);
        self.heap.swap_remove(at);
        self.free.push(ticket);
        if at < self.heap.len() {
            self.settle(at);
        }
    }

    fn place(&self, ticket: Ticket) -> usize {
        self.places[ticket.0 as usize] as usize
    }

    /// Moves an entry to where it belongs.
    fn settle(&mut self, mut at: usize) {
        while let Some(above) = at.checked_sub(1).map(|below| below / 2)
            && self.heap[above].weight < self.heap[at].weight
        {
            self.swap(at, above);
            at = above;
        }
        loop {
            let below = [2 * at + 1, 2 * at + 2].into_iter().filter(|&at| at < self.heap.len());
            let Some(below) = below.max_by_key(|&at| self.heap[at].weight) else { break };
            if self.heap[below].weight <= self.heap[at].weight {
                break;
            }
            self.swap(at, below);
            at = below;
        }
        self.note(at);
    }

    fn swap(&mut self, one: usize, other: usize) {
        #[cfg(test)]
        {
            self.moves += 1;
        }
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    fn note(&mut self, at: usize) {
        let ticket = self.heap[at].ticket;
        // The heap has no more entries than there are tickets.
        self.places[ticket.0 as usize] = u32::try_from(at).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_has_most(
            changes in proptest::collection::vec((0..40_usize, 0..100_usize), 0..400),
        ) {
            let mut heaviest = Heaviest::default();
            let mut weights = [0; 40];
            let mut tickets = [None; 40];
            for (who, weight) in changes {
                weights[who] = weight;
                heaviest.weigh(&mut tickets[who], who, weight);
                let most = weights.iter().copied().max().filter(|&most| most > 0);
                prop_assert_eq!(heaviest.first().map(|(_, weight)| weight), most);
                prop_assert!(heaviest.first().is_none_or(|(who, weight)| weights[who] == weight));
                let known = weights.iter().filter(|&&weight| weight > 0).count();
                prop_assert_eq!(heaviest.heap.len(), known);
                prop_assert_eq!(heaviest.places.len() - heaviest.free.len(), known);
            }
        }
    }
}
