//! How long to wait before the next try. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, up to a limit, and differ from node to node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A try has failed: when to try again. Between half and all of the wait, by `random`, so that
    /// not all nodes come back at once.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let wait = (FIRST * 2_u32.pow(self.failures.min(10))).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
    }

    /// It works.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.next(0), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
    }
}
