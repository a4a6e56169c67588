//! The table by which data of lanes is switched. It does not change by packets, but for their tokens.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Instant;

use proto::lane::LaneId;

use crate::core::bucket::Bucket;
use crate::core::counters::Drop;

/// What the table knows of an end that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneEntry {
    /// The address that the end has proven.
    pub from: SocketAddr,
    /// The relay's address at which it did.
    pub local: Option<IpAddr>,
    /// The other end, if it is bound too.
    pub to: Option<Forward>,
    /// Bytes a second.
    pub rate: NonZeroU64,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The other end's address.
    pub to: SocketAddr,
    /// The relay's address that the other end knows.
    pub via: Option<IpAddr>,
    /// The id to put into the header.
    pub lane: LaneId,
}

/// A change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchChange {
    /// An end is bound, or what is known of it has changed.
    Insert(LaneId, LaneEntry),
    /// An end is not bound any more.
    Remove(LaneId),
}

/// What to do with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it on.
    Forward(Forward),
    /// The other end has no address: its node's connection may take it.
    Up,
    /// Drop it.
    Drop(Drop),
}

/// The table of lanes.
#[derive(Default)]
pub struct Switch(HashMap<LaneId, (LaneEntry, Bucket)>);

impl Switch {
    /// Does what the relay says.
    pub fn change(&mut self, change: SwitchChange, now: Instant) {
        match change {
            SwitchChange::Insert(lane, entry) => {
                let tokens = self.0.get(&lane).map_or_else(|| Bucket::full(now), |old| old.1);
                self.0.insert(lane, (entry, tokens));
            }
            SwitchChange::Remove(lane) => drop(self.0.remove(&lane)),
        }
    }

    /// Judges data of this end, from this address to that one of ours, all of it together.
    pub fn judge(
        &mut self,
        lane: LaneId,
        from: SocketAddr,
        local: Option<IpAddr>,
        bytes: usize,
        now: Instant,
    ) -> Verdict {
        let Some((entry, bucket)) = self.0.get_mut(&lane) else {
            return Verdict::Drop(Drop::LaneUnknown);
        };
        if entry.from != from || entry.local != local {
            return Verdict::Drop(Drop::LaneSource);
        }
        if !bucket.take(bytes, entry.rate, now) {
            return Verdict::Drop(Drop::LaneRate);
        }
        entry.to.map_or(Verdict::Up, Verdict::Forward)
    }

    /// How many ends are bound.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no end is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
