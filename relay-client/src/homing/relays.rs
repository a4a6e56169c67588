//! Which relay to try next.

use std::time::{Duration, Instant};

/// How long a relay that failed once is left alone; doubled each time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long one that ends is: time to be started anew.
const AFTER_END: Duration = Duration::from_secs(30);
/// How long another home is kept before we go back to a better relay; doubled each time that one did
/// not last.
const KEPT: Duration = Duration::from_secs(60);
const MOST_DOUBLINGS: u32 = 6;
/// How long a home has to be one to have lasted.
const LASTING: Duration = Duration::from_secs(600);

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
    /// How often in a row it was our home and did not last.
    short_homes: u32,
}

impl Relays {
    pub(super) fn new(count: usize, now: Instant) -> Self {
        Self(vec![Relay { rests_until: now, failures: 0, short_homes: 0 }; count])
    }

    pub(super) const fn count(&self) -> usize {
        self.0.len()
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

    /// The better ones than our home that are not in use, each with when to go back to it. `spread` is
    /// from nothing to all of the wait once more, so that not all nodes come back at once.
    pub(super) fn better(
        &self,
        home: RelayIndex,
        since: Instant,
        spread: f64,
        used: &[RelayIndex],
    ) -> impl Iterator<Item = (RelayIndex, Instant)> {
        let better = self.0.iter().enumerate().map(|(at, relay)| (RelayIndex(at), relay));
        let better = better.take(home.0).filter(|(at, _)| !used.contains(at));
        better.map(move |(at, relay)| {
            let kept = KEPT * 2_u32.pow(relay.short_homes);
            (at, (since + kept + kept.mul_f64(spread)).max(relay.rests_until))
        })
    }

    /// It was our home for so long, and is not any more.
    pub(super) fn lost(&mut self, relay: RelayIndex, lasted: Duration) {
        if let Some(relay) = self.0.get_mut(relay.0) {
            let more = (relay.short_homes + 1).min(MOST_DOUBLINGS);
            relay.short_homes = if lasted >= LASTING { 0 } else { more };
        }
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
