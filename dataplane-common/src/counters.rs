//! Where the counters of a rule are.

use crate::{Generation, MAX_RULES, RuleIndex};

/// What one rule has allowed, on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleCounter {
    /// Packets on the wire: each segment of a super-packet counts.
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

const _: () = assert!(size_of::<RuleCounter>() == 16);

impl RuleCounter {
    /// The counter from its two words, in the order of its fields.
    #[must_use]
    pub const fn from_words([packets, bytes]: [u64; 2]) -> Self {
        Self { packets, bytes }
    }
}

/// Counters of one generation. A rule's index means another rule in the next policy, so
/// generations take turns with two halves and the half of the next is cleared before it is used.
pub const COUNTERS_PER_GENERATION: u32 = MAX_RULES;

/// The index of a rule's counter.
#[inline(always)]
#[must_use]
pub const fn counter_index(generation: Generation, rule: RuleIndex) -> u32 {
    (generation.0 & 1) * COUNTERS_PER_GENERATION + rule.0
}
