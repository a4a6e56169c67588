//! Who has how much waiting: where something has to go so that all have room, it is of the network
//! that has most, from the fullest of its queues. So receivers that do not read cost their own network.

use super::heaviest::{Heaviest, Ticket};
use super::slab::Index;

/// What waits in all queues.
#[derive(Default)]
pub(super) struct Backlog {
    cost: usize,
    networks: Heaviest<Index>,
}

/// What waits in a network's queues.
#[derive(Default)]
pub(super) struct NetworkBacklog {
    cost: usize,
    queues: Heaviest<Index>,
    standing: Option<Ticket>,
}

/// What waits in one queue, as it was said last.
#[derive(Default)]
pub(super) struct QueueBacklog {
    cost: usize,
    standing: Option<Ticket>,
}

impl Backlog {
    /// What all that waits costs.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// The network that has most, and how much.
    pub(super) fn most(&self) -> Option<(Index, usize)> {
        self.networks.first()
    }

    /// A node's queue has come to cost so much.
    pub(super) fn note(
        &mut self,
        (network, all): (Index, &mut NetworkBacklog),
        (node, queue): (Index, &mut QueueBacklog),
        cost: usize,
    ) {
        if queue.cost == cost {
            return;
        }
        self.cost = self.cost - queue.cost + cost;
        all.cost = all.cost - queue.cost + cost;
        queue.cost = cost;
        all.queues.weigh(&mut queue.standing, node, cost);
        self.networks.weigh(&mut all.standing, network, all.cost);
    }

    /// A link's queue, which is of no one network, has come to cost so much.
    pub(super) const fn note_link(&mut self, queue: &mut QueueBacklog, cost: usize) {
        self.cost = self.cost - queue.cost + cost;
        queue.cost = cost;
    }
}

impl NetworkBacklog {
    /// The node whose queue has most.
    pub(super) fn most(&self) -> Option<Index> {
        self.queues.first().map(|(node, _)| node)
    }
}
