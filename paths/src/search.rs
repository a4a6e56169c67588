//! When a direct way is looked for: some rounds within two seconds, then after ever longer waits.

use std::time::Duration;

use engine::Timestamp;
use rand::{Rng as _, RngCore};

/// When rounds are, from the beginning, and whether the peer is called in them.
const ROUNDS: [(Duration, bool); 6] = [
    (Duration::ZERO, true),
    (Duration::from_millis(100), false),
    (Duration::from_millis(250), true),
    (Duration::from_millis(500), false),
    (Duration::from_millis(1000), true),
    (Duration::from_millis(2000), false),
];
/// After a search that found nothing.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    began: Timestamp,
    round: usize,
    wait: Duration,
    /// When the next round is, or the next search.
    pub(crate) at: Option<Timestamp>,
}

/// What is to be done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// A search begins with it.
    pub(crate) first: bool,
    /// And ends with it.
    pub(crate) last: bool,
    /// The peer is called.
    pub(crate) call: bool,
}

impl Search {
    pub(crate) const NONE: Self =
        Self { began: Timestamp::from_epoch(Duration::ZERO), round: 0, wait: FIRST_WAIT, at: None };

    /// Looks from now on, with short waits.
    pub(crate) const fn begin(&mut self, now: Timestamp) {
        *self = Self { began: now, round: 0, wait: FIRST_WAIT, at: Some(now) };
    }

    /// The peer has called: the first round is done by answering it. One that is under way goes on.
    pub(crate) fn join(&mut self, now: Timestamp) {
        let under_way = self.at.is_some() && self.round > 0;
        if !under_way {
            self.began = now;
            self.round = 1;
            self.at = Some(now + ROUNDS[1].0);
        }
    }

    pub(crate) const fn stop(&mut self) {
        *self = Self::NONE;
    }

    /// Found: looks again, once, after the longest wait.
    pub(crate) fn found(&mut self, now: Timestamp) {
        *self = Self { began: now, round: 0, wait: FIRST_WAIT, at: Some(now + LONGEST_WAIT) };
    }

    /// The round that is due.
    pub(crate) fn due(&mut self, rng: &mut dyn RngCore, now: Timestamp) -> Option<Round> {
        if self.at.is_none_or(|at| now < at) {
            return None;
        }
        if self.round == 0 {
            self.began = now;
        }
        let (_, call) = ROUNDS[self.round];
        let first = self.round == 0;
        self.round += 1;
        let last = self.round == ROUNDS.len();
        if last {
            // A tenth by chance, so that many do not search at once.
            let jitter = self.wait.mul_f64(rng.random_range(0.0..0.1));
            (self.round, self.at) = (0, Some(now + self.wait + jitter));
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        } else {
            // Rounds that were missed are not made up for.
            self.at = Some((self.began + ROUNDS[self.round].0).max(now));
        }
        Some(Round { first, last, call })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn searches_are_short_and_get_rare() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut search = Search::NONE;
        let start = Timestamp::from_epoch(Duration::from_secs(1));
        assert_eq!(search.due(&mut rng, start), None);
        search.begin(start);
        let (mut rounds, mut searches, mut now) = (0, 0, start);
        while now - start < Duration::from_secs(3600) {
            now = search.at.unwrap().max(now);
            let round = search.due(&mut rng, now).unwrap();
            rounds += 1;
            searches += u32::from(round.first);
        }
        assert!((12..20).contains(&searches), "{searches}");
        assert!(rounds <= searches * 6);
    }
}
