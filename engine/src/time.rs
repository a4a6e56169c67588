//! Time as the engine knows it: what it is told.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, counted from an epoch of the caller's choice that never moves.
///
/// The shell counts from the machine's boot and includes suspended time (`CLOCK_BOOTTIME`), so
/// that a session which aged while a laptop slept is known to be old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The moment this long after the epoch.
    #[must_use]
    pub const fn from_epoch(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the epoch this is.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub for Timestamp {
    type Output = Duration;
    /// Zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
