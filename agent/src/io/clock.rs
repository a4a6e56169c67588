//! The clocks, read once per batch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_common::Nanos;
use engine::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, since boot, with the time that the machine was suspended.
pub(crate) fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Boottime);
    // Since boot: neither part is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Timestamp::from_epoch(Duration::new(seconds, nanos))
}

/// Now, by the clock that the kernel's policy programs read.
pub(crate) fn kernel() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Nanos(seconds * 1_000_000_000 + nanos)
}

/// Translates moments into wall-clock time as `wg` shows it.
///
/// The offset is kept until the wall clock is set anew, so that a moment that does not change is
/// not reported a few nanoseconds apart each time.
#[derive(Default)]
pub(crate) struct WallClock {
    boot: Option<Duration>,
}

impl WallClock {
    /// The moment, since the Unix epoch.
    pub(crate) fn at(&mut self, moment: Timestamp) -> Duration {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = wall.saturating_sub(now().since_epoch());
        let steady = |kept: &Duration| kept.abs_diff(boot) < Duration::from_millis(500);
        let boot = *self.boot.insert(self.boot.filter(steady).unwrap_or(boot));
        boot + moment.since_epoch()
    }
}
