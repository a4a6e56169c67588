//! A token bucket that is one moment: the generic cell rate algorithm.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use dataplane_common::Rate;

/// How long a sender may be ahead of its rate: longer than a scheduler's pause, short for a queue.
const BURST_MILLISECONDS: u64 = 50;
const BURST: Duration = Duration::from_millis(BURST_MILLISECONDS);
/// Bytes that pass at once at any rate, so that a slow sender can send a batch at all.
const LEAST_BURST: u64 = 128 << 10;

/// How far a sender has used up its rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// When all that was sent would be paid for.
    paid: Instant,
}

impl Bucket {
    pub(super) const fn full(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Takes `bytes` at `rate`, if they are there.
    pub(super) fn take(&mut self, bytes: usize, rate: NonZeroU64, now: Instant) -> bool {
        let burst = BURST.max(least_burst(rate));
        self.take_within(bytes, rate, burst, now)
    }

    /// Takes `bytes` if the sender then is at most `burst` ahead.
    pub(super) fn take_within(
        &mut self,
        bytes: usize,
        rate: NonZeroU64,
        burst: Duration,
        now: Instant,
    ) -> bool {
        let paid = self.paid.max(now) + cost(bytes as u64, rate);
        let fits = paid.saturating_duration_since(now) <= burst;
        if fits {
            self.paid = paid;
        }
        fits
    }

    /// Takes `bytes` that pass in any case, into debt of at most a second.
    pub(super) fn charge(&mut self, bytes: usize, rate: NonZeroU64, now: Instant) {
        let paid = self.paid.max(now) + cost(bytes as u64, rate);
        self.paid = paid.min(now + Duration::from_secs(1));
    }
}

/// The same rate and burst, as the tables have it by which lanes are switched.
pub(super) fn rate(bytes: NonZeroU64) -> Rate {
    let burst = (bytes.get() / 1_000 * BURST_MILLISECONDS).max(LEAST_BURST);
    Rate::new(bytes.get(), burst)
}

/// How long what passes at once at any rate takes.
pub(super) fn least_burst(rate: NonZeroU64) -> Duration {
    cost(LEAST_BURST, rate)
}

fn cost(bytes: u64, rate: NonZeroU64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_the_rate_and_one_burst() {
        let start = Instant::now();
        let rate = NonZeroU64::new(10_000_000).unwrap();
        let mut bucket = Bucket::full(start);
        let mut passed = 0;
        // Ten times the rate, for two seconds.
        for step in 0..20_000 {
            let now = start + Duration::from_micros(100) * step;
            for _ in 0..10 {
                passed += u64::from(bucket.take(1000, rate, now)) * 1000;
            }
        }
        let most = 20_000_000 + 10_000_000 / 20 + 1000;
        assert!((20_000_000 - 1000..=most).contains(&passed), "{passed}");
    }

    #[test]
    fn a_slow_rate_still_passes_a_batch() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        assert!(bucket.take(64 << 10, NonZeroU64::MIN, now));
    }
}
