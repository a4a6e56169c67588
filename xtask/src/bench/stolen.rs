//! CPU time that the machine's own host gave to others: on a rented machine it can be half, and then
//! numbers say more of the neighbours than of the code.

use std::fs;

use anyhow::{Context, Result};

/// The machine's CPU time so far, in hundredths of a second.
#[derive(Clone, Copy)]
pub(super) struct CpuTime {
    all: u64,
    stolen: u64,
}

impl CpuTime {
    pub(super) fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::of(&stat).context("/proc/stat: no line of all CPUs")
    }

    fn of(stat: &str) -> Option<Self> {
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user time.
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Option<Vec<u64>> =
            line.split_whitespace().take(8).map(|time| time.parse().ok()).collect();
        let times = times.filter(|times| times.len() == 8)?;
        Some(Self { all: times.iter().sum(), stolen: times[7] })
    }

    /// The part that was stolen since an earlier moment, in percent.
    #[allow(clippy::cast_precision_loss, reason = "hundredths of seconds of a machine's life")]
    pub(super) fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        100.0 * self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_a_part_of_all() {
        let read = |line: &str| CpuTime::of(&format!("{line}\ncpu0 1 1 1 1 1 1 1 1 0 0\n"));
        let before = read("cpu  100 10 50 800 5 0 5 30 0 0").unwrap();
        let after = read("cpu  120 10 60 810 5 0 5 90 7 7").unwrap();
        assert_eq!(after.stolen_since(before), 60.0);
        assert_eq!(before.stolen_since(before), 0.0);
        assert!(read("cpu  1 2 3").is_none());
    }
}
