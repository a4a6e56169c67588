//! When the router is asked for a mapping. Pure.

use std::time::Duration;

use engine::Timestamp;

/// How soon it is asked again when it has taken back what it had given, and else; twice as long each time.
const LOST: Duration = Duration::from_secs(5);
const REFUSED: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// A mapping that was lost is asked for by itself while it is waited for no longer than this, some ten
/// times; after that only when somebody needs it.
const BY_ITSELF: Duration = Duration::from_secs(900);
/// What looks as if the router had forgotten is no news more often than this, and half as often each time
/// that it had not: some NATs change all the time.
const RESTED: Duration = Duration::from_secs(10);
const LONGEST_RESTED: Duration = Duration::from_secs(900);
/// Bounds of the time to a renewal, which is half of what the router grants.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: Option<Timestamp>,
    asked: Option<Timestamp>,
    /// How long to wait after what has failed.
    rest: Duration,
    held: bool,
    /// Whether it is asked for a doubt; doubts that were none, one after another.
    doubted: bool,
    in_vain: u32,
    /// Whether there was a mapping in this network.
    was_held: bool,
}

impl Schedule {
    /// It is wanted from now on, or in another network.
    pub(super) fn begin(&mut self, now: Timestamp) {
        let rested = self.asked.map_or(now, |asked| asked + RESTED);
        *self = Self {
            due: Some(rested.max(now)),
            asked: self.asked,
            held: self.held,
            ..Self::default()
        };
    }

    /// It is wanted no more.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// When to ask.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// A way through the router has ended: it may have been started anew.
    pub(super) fn doubt(&mut self, now: Timestamp) {
        if self.held {
            self.doubted = true;
            let rested = (RESTED * (1 << self.in_vain.min(16))).min(LONGEST_RESTED);
            self.ask_at(self.asked.map_or(now, |asked| asked + rested).max(now));
        } else {
            self.need(now);
        }
    }

    /// Peers are to be reached now.
    pub(super) fn need(&mut self, now: Timestamp) {
        if let Some(asked) = self.asked.filter(|_| !self.held) {
            self.ask_at((asked + self.rest).max(now));
        }
    }

    /// It is being asked.
    pub(super) fn asks(&mut self, now: Timestamp) {
        (self.asked, self.due) = (Some(now), None);
    }

    /// It has granted one for so long, the same as before or another.
    pub(super) fn granted(&mut self, lifetime: Duration, same: bool, now: Timestamp) {
        let doubted = std::mem::take(&mut self.doubted);
        self.in_vain = if doubted && same { self.in_vain.saturating_add(1) } else { 0 };
        (self.held, self.was_held, self.rest) = (true, true, Duration::ZERO);
        self.due = Some(now + (lifetime / 2).clamp(SOONEST, LATEST));
    }

    /// It has granted none.
    pub(super) fn failed(&mut self, now: Timestamp) {
        let first = if self.was_held { LOST } else { REFUSED };
        self.rest = (self.rest * 2).clamp(first, LONGEST);
        (self.held, self.doubted, self.in_vain) = (false, false, 0);
        let by_itself = self.was_held && self.rest <= BY_ITSELF;
        self.due = by_itself.then_some(now + self.rest);
    }

    fn ask_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_epoch(Duration::from_secs(1000));
    const HOUR: Duration = Duration::from_secs(3600);

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    /// Asks whenever it is due until then; gives how often.
    fn ask(schedule: &mut Schedule, until: Timestamp, grants: Option<Duration>) -> u32 {
        let mut times = 0;
        while let Some(due) = schedule.due().filter(|due| *due <= until) {
            schedule.asks(due);
            match grants {
                Some(lifetime) => schedule.granted(lifetime, schedule.held, due),
                None => schedule.failed(due),
            }
            times += 1;
        }
        times
    }

    #[test]
    fn what_is_granted_is_renewed_at_half_its_time_and_not_more_often() {
        let mut schedule = Schedule::default();
        assert_eq!(ask(&mut schedule, START + HOUR * 24, None), 0, "nobody wants it");
        schedule.begin(START);
        assert_eq!(ask(&mut schedule, START + HOUR * 24, Some(HOUR * 2)), 25);
        schedule.end();
        assert_eq!(schedule.due(), None);
        schedule.begin(START);
        assert_eq!(ask(&mut schedule, START + HOUR, Some(Duration::from_secs(1))), 61);
        schedule.end();
        schedule.begin(START);
        assert_eq!(ask(&mut schedule, START + HOUR, Some(Duration::MAX)), 2);
    }

    #[test]
    fn a_router_that_grants_nothing_is_asked_when_there_is_need_and_ever_less() {
        let mut schedule = Schedule::default();
        schedule.begin(START);
        assert_eq!(ask(&mut schedule, START + HOUR * 24, None), 1, "an idle node asks once");
        let mut times = 0;
        for second in 0..24 * 3600 {
            schedule.need(after(second));
            times += ask(&mut schedule, after(second), None);
        }
        assert!((20..=32).contains(&times), "{times} times a day, with traffic all day");
        schedule.begin(after(100_000));
        assert_eq!(ask(&mut schedule, after(100_000), None), 1, "another network, another router");
    }

    #[test]
    fn a_mapping_that_was_lost_is_asked_for_soon() {
        let mut schedule = Schedule::default();
        schedule.begin(START);
        ask(&mut schedule, START, Some(HOUR));
        schedule.doubt(after(3));
        assert_eq!(schedule.due(), Some(after(10)), "not all the time");
        schedule.doubt(after(100));
        assert_eq!(ask(&mut schedule, after(10), None), 1);
        assert_eq!(schedule.due(), Some(after(15)));
        assert_eq!(ask(&mut schedule, after(100_000), None), 8);
        assert_eq!(schedule.due(), None, "it is gone for good");
        schedule.need(after(100_001));
        assert_eq!(ask(&mut schedule, after(100_001), Some(HOUR)), 1);
        schedule.doubt(after(100_100));
        assert_eq!(schedule.due(), Some(after(100_100)));
    }
    #[test]
    fn a_nat_that_changes_all_the_time_is_not_asked_all_the_time() {
        let mut schedule = Schedule::default();
        schedule.begin(START);
        ask(&mut schedule, START, Some(HOUR * 2));
        let mut times = 0;
        for second in 0..24 * 3600 {
            schedule.doubt(after(second));
            times += ask(&mut schedule, after(second), Some(HOUR * 2));
        }
        assert!(times <= 110, "{times} times a day");
        schedule.granted(HOUR, false, after(100_000));
        schedule.doubt(after(100_000));
        assert!(schedule.due().unwrap() <= after(100_010), "it is another: that was a doubt");
    }
}
