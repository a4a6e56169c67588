//! Whether the machine slept: one clock goes on meanwhile, the other stands still. Pure.

use std::time::Duration;

use dataplane::Nanos;
use engine::Timestamp;

/// Clocks that are read one after the other differ a little.
const SLEPT: Duration = Duration::from_secs(5);

/// Both clocks, when they were last looked at.
pub(super) struct Clocks {
    /// Goes on.
    boot: Timestamp,
    /// Stands still.
    awake: Nanos,
}

impl Clocks {
    pub(super) const fn new(boot: Timestamp, awake: Nanos) -> Self {
        Self { boot, awake }
    }

    /// How long it slept since the last look, if it did.
    pub(super) fn slept(&mut self, boot: Timestamp, awake: Nanos) -> Option<Duration> {
        let passed = Duration::from_nanos(awake.0.saturating_sub(self.awake.0));
        let slept = (boot - self.boot).saturating_sub(passed);
        *self = Self { boot, awake };
        (slept > SLEPT).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(seconds))
    }

    fn awake(seconds: u64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_clock_that_jumps_ahead_of_the_other_tells_of_a_sleep_once() {
        let mut clocks = Clocks::new(at(100), awake(100));
        assert_eq!(clocks.slept(at(101), awake(101)), None);
        // The daemon had no time, the machine was awake.
        assert_eq!(clocks.slept(at(200), awake(200)), None);
        assert_eq!(clocks.slept(at(3801), awake(201)), Some(Duration::from_secs(3600)));
        assert_eq!(clocks.slept(at(3802), awake(202)), None);
        assert_eq!(clocks.slept(at(3806), awake(203)), None, "read late");
    }
}
