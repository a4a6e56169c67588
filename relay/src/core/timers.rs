//! When to look at what: one entry for each node and each lane.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::slab::Index;

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Silence, expiry or absence of a node.
    Node(Index),
    /// What has waited too long for a node.
    Queue(Index),
    /// Silent ends of a lane.
    Lane(Index),
    /// The next beat of all links to other relays.
    Beat,
    /// The end of a relay that is going away.
    End,
}

/// Moments, and what is due then.
#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Due)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, due: Due) {
        self.0.push(Reverse((at, due)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// What is due, if anything is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Due> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse((_, due))| due)
    }
}
