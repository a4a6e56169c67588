//! How fast: a token bucket in one word.

use crate::Nanos;

/// The kernel's cheap clock stands still for as long as this, where it ticks 100 times a second. A
/// bucket that holds less would be empty before the clock moves.
pub const COARSEST_CLOCK: Nanos = Nanos(10_000_000);

/// A rate, as the time that bytes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds for 2^16 bytes; zero for no limit.
    pub(super) price: u32,
    /// The most time that can be saved up, in milliseconds.
    pub(super) burst: u16,
}

const MILLISECOND: u64 = 1_000_000;

impl Rate {
    /// As fast as it comes.
    pub const UNLIMITED: Self = Self { price: 0, burst: 0 };

    /// This many bytes a second and, after a pause, this many at once, or what the rate gives in the
    /// rest of a millisecond: at least what it gives in [`COARSEST_CLOCK`], at most what it gives in
    /// four seconds. A rate under 16 kB a second counts as that, one above 65 TB as unlimited.
    #[must_use]
    pub const fn new(bytes_per_second: u64, burst_bytes: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        const SLOWEST: u64 = 16_000;
        let rate = if bytes_per_second < SLOWEST { SLOWEST } else { bytes_per_second };
        let price = (SECOND << 16) / rate;
        let time = (burst_bytes as u128 * SECOND as u128) / rate as u128;
        let burst = if time < COARSEST_CLOCK.0 as u128 {
            COARSEST_CLOCK.0
        } else if time > 4 * SECOND as u128 {
            4 * SECOND
        } else {
            low(time)
        };
        Self { price: word(price), burst: half(burst.div_ceil(MILLISECOND)) }
    }

    /// Whether there is no limit: then nobody need look at a clock.
    #[inline(always)]
    #[must_use]
    pub const fn is_unlimited(self) -> bool {
        self.price == 0
    }

    /// Takes the time for these bytes, if it was saved up: see `take`.
    #[inline(always)]
    #[must_use]
    pub fn take(self, spent: Nanos, bytes: u32, now: Nanos) -> Option<Nanos> {
        let cost = (u64::from(bytes) * u64::from(self.price)) >> 16;
        take(spent, cost, u64::from(self.burst) * MILLISECOND, now)
    }
}

/// Takes `cost` from a bucket that saves up to `burst` of time; `None` if there is less in it.
///
/// A bucket is the moment up to which time is used up (GCRA's theoretical arrival time). In the
/// kernel, two CPUs that take at one moment may both write what only one of them took: so of packets
/// that meet, one may be free. That bounds the error by the number of CPUs, and costs no lock.
#[inline(always)]
#[must_use]
pub(crate) fn take(spent: Nanos, cost: u64, burst: u64, now: Nanos) -> Option<Nanos> {
    let earliest = now.0.saturating_sub(burst);
    let used = if spent.0 < earliest { earliest } else { spent.0 } + cost;
    if used > now.0 { None } else { Some(Nanos(used)) }
}

#[allow(clippy::cast_possible_truncation, reason = "the callers bound it")]
const fn word(number: u64) -> u32 {
    number as u32
}

#[allow(clippy::cast_possible_truncation, reason = "the caller bounds it")]
const fn half(number: u64) -> u16 {
    number as u16
}

#[allow(clippy::cast_possible_truncation, reason = "the caller bounds it")]
const fn low(number: u128) -> u64 {
    number as u64
}
