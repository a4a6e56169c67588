//! What the kernel's half of a switch counts and goes by, besides the lanes.

use super::{COARSEST_CLOCK, take};
use crate::{Address, DropReason, Nanos};

/// What one lane has sent: packets and bytes on one CPU, as the kernel's table has it, in words.
pub type LaneSent = [u64; 2];

/// What of it one CPU has dropped, by [`LaneCounters::REASONS`].
pub type LaneDrops = [u64; LaneCounters::REASONS.len()];

/// What one lane has sent. What was lost is told by reason; those for which no lane is known are in the
/// table of all drops only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Datagrams that went on.
    pub packets: u64,
    /// Their bytes, from the lane header on.
    pub bytes: u64,
    /// Datagrams dropped, by [`LaneCounters::REASONS`].
    pub drops: LaneDrops,
}

impl LaneCounters {
    /// The reasons that are counted for each lane.
    pub const REASONS: [DropReason; 4] =
        [DropReason::LaneSource, DropReason::LaneRate, DropReason::LaneTtl, DropReason::LaneEgress];

    /// Where a lane's are in the tables, for this CPU.
    #[inline(always)]
    #[must_use]
    pub const fn index(cpu: u32, lanes: u32, place: u32) -> u32 {
        cpu * lanes + place
    }

    /// The place of this reason's count.
    #[inline(always)]
    #[must_use]
    pub const fn place(reason: DropReason) -> Option<usize> {
        match reason {
            DropReason::LaneSource => Some(0),
            DropReason::LaneRate => Some(1),
            DropReason::LaneTtl => Some(2),
            DropReason::LaneEgress => Some(3),
            _ => None,
        }
    }

    /// Datagrams dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        Self::place(reason).and_then(|place| self.drops.get(place)).copied().unwrap_or(0)
    }
}

/// How many STUN answers each network of askers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The time that one answer takes.
    cost: u64,
    /// How much of it a network may save up.
    burst: u64,
}

impl Allowance {
    /// So many a second and, after a pause, so many at once: one at least, and what the rate gives
    /// in [`COARSEST_CLOCK`].
    #[must_use]
    pub fn new(answers_a_second: u32, burst: u32) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let cost = SECOND / u64::from(answers_a_second).clamp(1, SECOND);
        Self { cost, burst: (u64::from(burst.max(1)) * cost).max(COARSEST_CLOCK.0) }
    }

    /// As the kernel's program has it.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.cost, self.burst]
    }

    /// The allowance of these words; an answer that costs nothing is none.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([cost, burst]: [u64; 2]) -> Option<Self> {
        if cost == 0 { None } else { Some(Self { cost, burst }) }
    }

    /// Takes one answer from what a network has: see `take`.
    #[inline(always)]
    #[must_use]
    pub fn take(self, spent: Nanos, now: Nanos) -> Option<Nanos> {
        take(spent, self.cost, self.burst, now)
    }
}

/// The network of a STUN asker: its addresses share one allowance, because one host can have them
/// all. A /24 of IPv4, a /56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AskerNetwork(pub u64);

impl AskerNetwork {
    /// The network of this address.
    #[inline(always)]
    #[must_use]
    pub const fn of(address: &Address) -> Self {
        let [a, b, c, d, e, f, g, _, _, _, _, _, w, x, y, _] = address.to_bytes();
        let bytes =
            if address.is_v4() { [w, x, y, 0, 0, 0, 0, 4] } else { [a, b, c, d, e, f, g, 6] };
        Self(u64::from_ne_bytes(bytes))
    }
}

/// Networks of STUN askers that the kernel remembers; the least recently used goes first.
pub const MAX_ASKERS: u32 = 16_384;

/// Addresses of its own that a relay can have: some hosts hold one for each service of a cluster.
pub const MAX_LOCALS: u32 = 4_096;

/// Interfaces that one switch can have.
pub const MAX_INTERFACES: u32 = 64;
