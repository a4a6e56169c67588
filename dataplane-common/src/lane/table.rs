//! What the kernel's half of a switch counts and goes by, besides the lanes.

use super::take;
use crate::{Address, DropReason, Nanos};

/// What one lane has sent, or all have, on one CPU. A cache line. What was lost is told by reason;
/// those for which no lane is known are in the table of all drops only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LaneCounters {
    /// Datagrams that went on.
    pub packets: u64,
    /// Their bytes, from the lane header on.
    pub bytes: u64,
    /// Datagrams dropped, by [`LaneCounters::REASONS`].
    pub drops: [u64; Self::REASONS.len()],
}

const _: () = assert!(size_of::<LaneCounters>() == 8 * LaneCounters::WORDS);

impl LaneCounters {
    /// The reasons that are counted for each lane.
    pub const REASONS: [DropReason; 6] = [
        DropReason::LaneSource,
        DropReason::LaneUnbound,
        DropReason::LaneRate,
        DropReason::LaneTtl,
        DropReason::LaneTooBig,
        DropReason::LaneEgress,
    ];

    /// How many words it has.
    pub const WORDS: usize = 2 + Self::REASONS.len();

    /// The counters from their words, in the order of the fields.
    #[must_use]
    pub const fn from_words([packets, bytes, drops @ ..]: [u64; Self::WORDS]) -> Self {
        Self { packets, bytes, drops }
    }

    /// How many of these a table takes: for each CPU one of each lane, and one for all lanes.
    #[must_use]
    pub const fn table(cpus: u32, lanes: u32) -> u32 {
        cpus * (lanes + 1)
    }

    /// Where a lane's is, on this CPU. `lanes`, as a place, is for all lanes.
    #[inline(always)]
    #[must_use]
    pub const fn index(cpu: u32, lanes: u32, place: u32) -> u32 {
        cpu * (lanes + 1) + place
    }

    /// The place of this reason's count.
    #[inline(always)]
    #[must_use]
    pub const fn place(reason: DropReason) -> Option<usize> {
        match reason {
            DropReason::LaneSource => Some(0),
            DropReason::LaneUnbound => Some(1),
            DropReason::LaneRate => Some(2),
            DropReason::LaneTtl => Some(3),
            DropReason::LaneTooBig => Some(4),
            DropReason::LaneEgress => Some(5),
            _ => None,
        }
    }

    /// Datagrams dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        Self::place(reason).and_then(|place| self.drops.get(place)).copied().unwrap_or(0)
    }
}

/// How the kernel's half is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSettings {
    /// The port of lanes and STUN.
    pub port: u16,
    /// The time that one STUN answer takes, of what a network of askers may have.
    answer_cost: u32,
    /// How much of it a network may save up.
    answer_burst: u64,
}

impl SwitchSettings {
    /// This port, and to each network of askers so many STUN answers a second, and after a pause at
    /// once: one at least, and what the rate gives in [`COARSEST_CLOCK`](super::COARSEST_CLOCK).
    #[must_use]
    pub fn new(port: u16, answers_a_second: u32, burst: u32) -> Self {
        const SECOND: u32 = 1_000_000_000;
        let answer_cost = SECOND / answers_a_second.clamp(1, SECOND);
        let burst = u64::from(burst.max(1)) * u64::from(answer_cost);
        let answer_burst = burst.max(super::COARSEST_CLOCK.0);
        Self { port, answer_cost, answer_burst }
    }

    /// The settings as the kernel's program has them.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [((self.answer_cost as u64) << 32) | self.port as u64, self.answer_burst]
    }

    /// The settings of these words.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub const fn from_words([low, answer_burst]: [u64; 2]) -> Self {
        Self { port: low as u16, answer_cost: (low >> 32) as u32, answer_burst }
    }

    /// Takes one answer from what a network has: see [`take`].
    #[inline(always)]
    #[must_use]
    pub fn take_answer(&self, spent: Nanos, now: Nanos) -> Option<Nanos> {
        take(spent, u64::from(self.answer_cost), self.answer_burst, now)
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
        let [a, b, c, d, e, f, g, _, _, _, _, _, w, x, y, _] = address.0;
        let bytes =
            if address.is_v4() { [w, x, y, 0, 0, 0, 0, 4] } else { [a, b, c, d, e, f, g, 6] };
        Self(u64::from_ne_bytes(bytes))
    }
}

/// Networks of STUN askers that the kernel remembers; the least recently used goes first.
pub const MAX_ASKERS: u32 = 16_384;

/// Addresses of its own that a relay can have.
pub const MAX_LOCALS: u32 = 256;

/// Interfaces that one switch can have.
pub const MAX_INTERFACES: u32 = 64;
