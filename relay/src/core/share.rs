//! A network's rate, divided among its clients.
//!
//! Each client that sends has an equal part of the rate for sure. What others leave of theirs is
//! given to whoever asks, so a lone sender has all of it.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, least_burst};

/// How long a client counts as sending.
const EPOCH: Duration = Duration::from_millis(100);
/// The network may be this far ahead before nothing is left over for those beyond their part.
const SURPLUS: Duration = Duration::from_millis(25);

/// A network's rate, and who uses it.
#[derive(Debug)]
pub(super) struct Share {
    rate: Option<NonZeroU64>,
    whole: Bucket,
    start: Instant,
    epoch: u64,
    senders: u64,
    senders_before: u64,
}

/// A client's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    bucket: Bucket,
    seen: u64,
}

impl Part {
    pub(super) const fn new(now: Instant) -> Self {
        Self { bucket: Bucket::full(now), seen: u64::MAX }
    }
}

impl Share {
    pub(super) const fn new(rate: Option<NonZeroU64>, now: Instant) -> Self {
        let whole = Bucket::full(now);
        Self { rate, whole, start: now, epoch: 0, senders: 0, senders_before: 0 }
    }

    pub(super) const fn rate(&self) -> Option<NonZeroU64> {
        self.rate
    }

    /// The latest ticket of a network says its rate.
    pub(super) const fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.rate = rate;
    }

    /// Whether a client may send these bytes.
    pub(super) fn take(&mut self, part: &mut Part, bytes: usize, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        self.note_sender(part, now);
        let senders = self.senders.max(self.senders_before).max(1);
        let own = NonZeroU64::new(rate.get() / senders).unwrap_or(NonZeroU64::MIN);
        if part.bucket.take(bytes, own, now) {
            self.whole.charge(bytes, rate, now);
            return true;
        }
        self.whole.take_within(bytes, rate, SURPLUS.max(least_burst(rate)), now)
    }

    fn note_sender(&mut self, part: &mut Part, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_millis() / EPOCH.as_millis();
        let epoch = u64::try_from(since).unwrap_or(u64::MAX - 1);
        if epoch != self.epoch {
            self.senders_before = if epoch == self.epoch + 1 { self.senders } else { 0 };
            (self.epoch, self.senders) = (epoch, 0);
        }
        if part.seen != epoch {
            part.seen = epoch;
            self.senders += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that pass in ten seconds, of clients that offer so many packets a millisecond.
    fn passed(rate: u64, offers: &[u32]) -> Vec<u64> {
        let start = Instant::now();
        let mut share = Share::new(NonZeroU64::new(rate), start);
        let mut parts = vec![Part::new(start); offers.len()];
        let mut passed = vec![0; offers.len()];
        for step in 0..10_000 {
            let now = start + Duration::from_millis(1) * step;
            for (client, &offer) in offers.iter().enumerate() {
                for _ in 0..offer {
                    passed[client] += u64::from(share.take(&mut parts[client], 1000, now)) * 1000;
                }
            }
        }
        passed
    }

    fn near(got: u64, wanted: u64) {
        assert!(got.abs_diff(wanted) * 20 <= wanted, "{got} should be {wanted} within 5 %");
    }

    #[test]
    fn ten_to_one_are_given_equal_parts() {
        let passed = passed(2_000_000, &[20, 2]);
        near(passed[0], 10_000_000);
        near(passed[1], 10_000_000);
    }

    #[test]
    fn what_one_leaves_another_has() {
        let passed = passed(10_000_000, &[20, 1]);
        near(passed[1], 10_000_000);
        near(passed[0], 90_000_000);
    }

    #[test]
    fn a_lone_sender_has_all() {
        near(passed(10_000_000, &[20])[0], 100_000_000);
    }
}
