//! How much one caller may ask: a bucket for each, in a table that cannot grow.

use std::collections::HashMap;
use std::hash::Hash;

use proto::ticket::UnixSeconds;

/// Callers that are remembered; who is not has a full bucket.
const MOST: usize = 65_536;

/// Requests of one caller.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second, in the long run.
    pub every_second: u32,
}

/// The buckets of callers.
pub struct Rates<K> {
    rate: Rate,
    buckets: HashMap<K, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    at: UnixSeconds,
}

impl Rate {
    fn filled(self, Bucket { left, at }: Bucket, now: UnixSeconds) -> u32 {
        let since = u32::try_from(now.0.saturating_sub(at.0)).unwrap_or(u32::MAX);
        left.saturating_add(since.saturating_mul(self.every_second)).min(self.burst)
    }
}

impl<K: Hash + Eq> Rates<K> {
    /// Full buckets for everybody.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one request out; tells whether there was one.
    pub fn take(&mut self, key: K, now: UnixSeconds) -> bool {
        let rate = self.rate;
        if self.buckets.len() >= MOST && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| rate.filled(*bucket, now) < rate.burst);
            if self.buckets.len() >= MOST {
                self.buckets.clear();
            }
        }
        let full = Bucket { left: rate.burst, at: now };
        let bucket = self.buckets.entry(key).or_insert(full);
        let left = rate.filled(*bucket, now);
        *bucket = Bucket { left: left.saturating_sub(1), at: now };
        left > 0
    }

    /// Gives requests back that are not to count.
    pub fn give_back(&mut self, key: &K, requests: u32, now: UnixSeconds) {
        let rate = self.rate;
        if let Some(bucket) = self.buckets.get_mut(key) {
            let left = rate.filled(*bucket, now).saturating_add(requests).min(rate.burst);
            *bucket = Bucket { left, at: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_burst_and_then_its_rate_and_others_have_theirs() {
        let mut rates = Rates::new(Rate { burst: 3, every_second: 2 });
        let mut taken = |key: u8, now| (0..5).filter(|_| rates.take(key, UnixSeconds(now))).count();
        assert_eq!((taken(1, 100), taken(1, 100), taken(2, 100)), (3, 0, 3));
        assert_eq!((taken(1, 101), taken(1, 500)), (2, 3));
        // A clock that goes back gives nothing.
        assert_eq!(taken(1, 400), 0);
    }

    #[test]
    fn what_is_given_back_does_not_count_and_is_no_more_than_was_taken() {
        let mut rates = Rates::new(Rate { burst: 3, every_second: 1 });
        let now = UnixSeconds(100);
        for _ in 0..50 {
            assert!(rates.take(1, now) && rates.take(1, now));
            rates.give_back(&1, 2, now);
        }
        rates.give_back(&1, 1_000, now);
        rates.give_back(&2, 1_000, now);
        assert_eq!((0..9).filter(|_| rates.take(1, now)).count(), 3);
        assert_eq!((0..9).filter(|_| rates.take(2, now)).count(), 3);
    }

    #[test]
    fn the_table_does_not_grow() {
        let mut rates = Rates::new(Rate { burst: 3, every_second: 1 });
        for key in 0..200_000u32 {
            assert!(rates.take(key, UnixSeconds(1)));
        }
        assert!(rates.buckets.len() <= MOST);
    }
}
