//! The wall clock of all instances: the database's. What one of them signs or notes the others judge,
//! so they have to agree on the time, whatever the clocks of their hosts say.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use proto::ticket::UnixSeconds;

use crate::store::{Store, StoreError};

/// How far the database's clock is ahead of the host's, in milliseconds; a process has one database.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// Less than this, in milliseconds, is the time that asking takes.
const SAME: i64 = 1_000;
/// So much is said.
const WRONG: i64 = 5_000;

/// The time.
#[must_use]
pub fn now() -> UnixSeconds {
    UnixSeconds(host().saturating_add_signed(AHEAD.load(Ordering::Relaxed)) / 1_000)
}

/// Asks the database for the time, and goes by that from now on.
pub(crate) async fn follow(store: &Store) -> Result<(), StoreError> {
    let before = host();
    let there = store.time().await?;
    let ahead = ahead(before, there, host());
    let known = AHEAD.swap(ahead, Ordering::Relaxed);
    if (ahead - known).abs() >= WRONG {
        tracing::warn!(
            seconds = ahead / 1_000,
            "the database's clock is so far ahead of this host's; all instances go by the database's"
        );
    }
    Ok(())
}

/// How far a clock is ahead that said `there` between two moments of this one.
fn ahead(before: u64, there: u64, after: u64) -> i64 {
    let here = before.midpoint(after);
    let ahead = there.wrapping_sub(here).cast_signed();
    if ahead.abs() < SAME { 0 } else { ahead }
}

/// The host's clock, in milliseconds.
fn host() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind_of_the_middle_of_the_question() {
        assert_eq!(ahead(10_000, 910_050, 10_100), 900_000);
        assert_eq!(ahead(910_000, 10_050, 910_100), -900_000);
        assert_eq!(ahead(10_000, 10_900, 10_100), 0, "the same");
    }
}
