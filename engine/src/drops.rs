//! A counter for each reason to drop a packet.

use dataplane_common::{DROP_REASONS, DropReason};

/// How many packets were dropped, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops([u64; DROP_REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DROP_REASONS])
    }
}

impl Drops {
    /// Counts one packet.
    pub const fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several packets.
    pub const fn add(&mut self, reason: DropReason, packets: u64) {
        self.0[reason.index()] += packets;
    }

    /// The count of one reason.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// The reasons that have occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.get(reason)))
            .filter(|&(_, packets)| packets > 0)
    }
}
