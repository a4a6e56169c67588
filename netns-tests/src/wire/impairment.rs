//! What a wire can be told to do, and what it counted.

use std::num::NonZeroU64;
use std::time::Duration;

/// How one direction of a link behaves. Name what differs from [`Impairment::NONE`]:
/// `Impairment { loss: 0.02, ..Impairment::NONE }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// One-way delay.
    pub delay: Duration,
    /// The delay is drawn evenly from `delay - jitter ..= delay + jitter`; order is kept.
    pub jitter: Duration,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame arrives twice.
    pub duplicate: f64,
    /// Probability that a frame is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long such a frame is held back.
    pub reorder_by: Duration,
    /// Probability that one bit behind the Ethernet header is flipped.
    pub corrupt: f64,
    /// Rate of the line, Ethernet headers included; `None` is as fast as the machine.
    pub rate: Option<Rate>,
    /// Bytes that may pass at once after the line stood idle.
    pub burst: usize,
    /// Bytes that may wait for the line; what comes on top is dropped. Means nothing without a rate.
    pub queue: usize,
}

impl Impairment {
    /// A perfect wire.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_by: Duration::from_millis(5),
        corrupt: 0.0,
        rate: None,
        burst: 16 << 10,
        queue: 256 << 10,
    };

    pub(super) fn assert_valid(&self) {
        for (name, probability) in [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ] {
            assert!(
                (0.0..=1.0).contains(&probability),
                "{name} is a probability, not {probability}"
            );
        }
    }
}

impl Default for Impairment {
    fn default() -> Self {
        Self::NONE
    }
}

/// Bits per second, never zero (that is an outage).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// A rate in bits per second.
    ///
    /// # Panics
    /// If `bits` is zero.
    #[must_use]
    pub const fn bits(bits: u64) -> Self {
        match NonZeroU64::new(bits) {
            Some(bits) => Self(bits),
            None => panic!("a rate of zero is an outage"),
        }
    }

    /// A rate in megabits per second.
    ///
    /// # Panics
    /// If `megabits` is zero.
    #[must_use]
    pub const fn mbit(megabits: u32) -> Self {
        Self::bits(megabits as u64 * 1_000_000)
    }

    /// How long the line takes for `bytes`.
    #[must_use]
    pub fn time_for(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What one direction of a link did. After it has run empty,
/// `received + duplicated == forwarded + lost + dropped_queue + dropped_down`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken from the sending host.
    pub received: u64,
    /// Frames given to the receiving host, copies included.
    pub forwarded: u64,
    /// Bytes of those frames.
    pub forwarded_bytes: u64,
    /// Frames lost on purpose.
    pub lost: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Frames that arrived after one which was sent later.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames that found the queue full.
    pub dropped_queue: u64,
    /// Frames that met, or were overtaken by, an outage.
    pub dropped_down: u64,
    /// Forwarded frames that the receiving interface would not take (it is down or gone).
    pub refused: u64,
}
