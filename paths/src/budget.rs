//! A token bucket.

use std::time::Duration;

use engine::Timestamp;

/// So many at once, then so many a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Thousandths of tokens.
    tokens: u64,
    most: u64,
    per_second: u64,
    at: Timestamp,
}

impl Budget {
    pub(crate) const fn new(most: u32, per_second: u32) -> Self {
        let most = most as u64 * 1000;
        let at = Timestamp::from_epoch(Duration::ZERO);
        Self { tokens: most, most, per_second: per_second as u64, at }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        // Not longer than it takes to fill, so that nothing overflows.
        let passed = (now - self.at).min(Duration::from_secs(3600)).as_millis();
        let passed = u64::try_from(passed).unwrap_or_default();
        if passed > 0 {
            self.at = now;
            self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        }
        let has = self.tokens >= 1000;
        if has {
            self.tokens -= 1000;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_and_fills_again() {
        let mut budget = Budget::new(3, 10);
        let at = |ms| Timestamp::from_epoch(Duration::from_secs(50) + Duration::from_millis(ms));
        let taken = |budget: &mut Budget, ms| (0..10).filter(|_| budget.take(at(ms))).count();
        assert_eq!(taken(&mut budget, 0), 3);
        assert_eq!(taken(&mut budget, 99), 0);
        assert_eq!(taken(&mut budget, 200), 2);
        assert_eq!(taken(&mut budget, 10_000), 3);
    }
}
