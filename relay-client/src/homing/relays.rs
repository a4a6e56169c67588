//! Which relay to try next.

use std::time::{Duration, Instant};

/// How long a relay that failed once is left alone; doubled each time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long one that ends is: time to be started anew.
const AFTER_END: Duration = Duration::from_secs(30);

/// A relay, by its place in the list that the caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayIndex(pub usize);

/// What is known of each, the best first.
pub(super) struct Relays(Vec<Relay>);

#[derive(Clone, Copy)]
struct Relay {
    /// Not before this, if there is another.
    rests_until: Instant,
    failures: u32,
}

impl Relays {
    pub(super) fn new(count: usize, now: Instant) -> Self {
        Self(vec![Relay { rests_until: now, failures: 0 }; count])
    }

    /// The best that does not rest and is not in use; else when the first will have rested.
    pub(super) fn best(
        &self,
        used: &[RelayIndex],
        now: Instant,
    ) -> Result<RelayIndex, Option<Instant>> {
        let free = || {
            let all = self.0.iter().enumerate().map(|(at, relay)| (RelayIndex(at), relay));
            all.filter(|(at, _)| !used.contains(at))
        };
        free()
            .find(|(_, relay)| relay.rests_until <= now)
            .map(|(at, _)| at)
            .ok_or_else(|| free().map(|(_, relay)| relay.rests_until).min())
    }

    pub(super) fn works(&mut self, relay: RelayIndex) {
        if let Some(relay) = self.0.get_mut(relay.0) {
            relay.failures = 0;
        }
    }

    pub(super) fn fails(&mut self, relay: RelayIndex, now: Instant) {
        if let Some(relay) = self.0.get_mut(relay.0) {
            let rest = FIRST_REST * 2_u32.pow(relay.failures.min(6));
            relay.failures += 1;
            relay.rests_until = relay.rests_until.max(now + rest.min(LONGEST_REST));
        }
    }

    pub(super) fn leaves(&mut self, relay: RelayIndex, now: Instant) {
        if let Some(relay) = self.0.get_mut(relay.0) {
            relay.rests_until = now + AFTER_END;
        }
    }
}
