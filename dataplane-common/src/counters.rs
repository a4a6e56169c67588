//! What is counted, and where.

use crate::RuleIndex;

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    /// Packets on the wire: each segment of a super-packet counts.
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Traffic>() == 16);

impl Traffic {
    /// The traffic of two words, in the order of its fields.
    #[must_use]
    pub const fn from_words([packets, bytes]: [u64; 2]) -> Self {
        Self { packets, bytes }
    }

    /// Counts more.
    #[inline(always)]
    pub const fn add(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// The index of what a rule decided on one CPU. A CPU's counters lie together, so that no two CPUs
/// write to one cache line.
#[inline(always)]
#[must_use]
pub const fn counter_index(cpu: u32, rule_count: u32, rule: RuleIndex) -> u32 {
    cpu.wrapping_mul(rule_count).wrapping_add(rule.0)
}
