//! What is known of a direct way, by pings on it.

use std::time::Duration;

use engine::Timestamp;

/// Pings whose end is remembered.
const REMEMBERED: u32 = 32;
/// So many of them lost make a way bad: one in five. At 1 % of loss that happens once in days.
const LOST: u32 = 6;
/// A fault counts for so long against the next.
const FORGIVEN: Duration = Duration::from_secs(900);
/// How long a lossy way is not used: the first time, and at most.
const LOSSY_BAR: Duration = Duration::from_secs(60);
const LONGEST_BAR: Duration = Duration::from_secs(3600);
/// How long one that has died again is not used, the first time.
const DEAD_BAR: Duration = Duration::from_secs(30);
/// Answers in a row that a way needs that had a fault.
const PROOF: u32 = 3;

/// What is wrong with a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Pings are not answered any more.
    Died,
    /// The same, since it was quiet: a NAT may have forgotten it.
    Lapsed,
    /// Packets are lost.
    Lossy,
    /// Pings pass, the tunnel's packets do not.
    Blocked,
    /// Another way answers since one end has moved, and this one does not.
    Moved,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// The round trip, smoothed.
    pub rtt: Option<Duration>,
    /// When a pong came last.
    pub heard: Option<Timestamp>,
    /// Pings that went out.
    pub asked: u32,
    /// Pongs that came.
    pub answered: u32,
    /// Pings since the last pong.
    pub unanswered: u32,
    /// When the first of them left.
    waits: Option<Timestamp>,
    /// Pongs since the last ping that was given up.
    streak: u32,
    /// How the last pings ended, a bit for each: lost or not.
    recent: u32,
    settled: u32,
    /// What went wrong the last time that it was used, and when.
    pub fault: Option<(Fault, Timestamp)>,
    faults: u32,
    /// Until when it is not used.
    pub barred: Timestamp,
}

impl Evidence {
    pub(crate) fn asked(&mut self, now: Timestamp) {
        self.asked = self.asked.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.waits.get_or_insert(now);
    }

    /// A pong came, to a ping of when it was in use, or not.
    pub(crate) fn answered(&mut self, time: Duration, used: bool, now: Timestamp) {
        self.rtt = Some(self.rtt.map_or(time, |rtt| (rtt * 7 + time) / 8));
        self.heard = Some(now);
        self.answered = self.answered.saturating_add(1);
        (self.unanswered, self.waits) = (0, None);
        self.streak = self.streak.saturating_add(1);
        self.settle(false, used);
    }

    /// A ping was not answered, one of when it was in use, or not.
    pub(crate) fn lost(&mut self, used: bool) {
        self.streak = 0;
        self.settle(true, used);
    }

    /// While NATs are shut, pings are lost that say nothing of the way.
    fn settle(&mut self, lost: bool, used: bool) {
        if used {
            self.recent = self.recent << 1 | u32::from(lost);
            self.settled = (self.settled + 1).min(REMEMBERED);
        }
    }

    /// It is in use from now on.
    pub(crate) const fn take(&mut self) {
        (self.recent, self.settled) = (0, 0);
    }

    /// Whether too many of the last pings were lost.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.settled == REMEMBERED && self.recent.count_ones() >= LOST
    }

    /// Whether a pong came within this.
    #[must_use]
    pub fn is_fresh(&self, within: Duration, now: Timestamp) -> bool {
        self.heard.is_some_and(|at| now - at <= within)
    }

    /// Whether an answer is waited for longer than this.
    #[must_use]
    pub fn waits(&self, longer: Duration, now: Timestamp) -> bool {
        self.waits.is_some_and(|since| now - since > longer)
    }

    /// Whether its pongs are enough for it to be used.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.streak >= if self.faults > 0 { PROOF } else { 1 }
    }

    /// It was left for this.
    pub(crate) fn blame(&mut self, fault: Fault, now: Timestamp) {
        // Nothing was wrong with a way whose end has moved, or that was not kept open.
        if !matches!(fault, Fault::Moved | Fault::Lapsed) {
            self.bar(fault, now);
        }
        self.fault = Some((fault, now));
        self.forget();
    }

    /// It is not used for a while, longer each time.
    fn bar(&mut self, fault: Fault, now: Timestamp) {
        if self.fault.is_none_or(|(_, at)| now - at > FORGIVEN) {
            self.faults = 0;
        }
        self.faults = (self.faults + 1).min(16);
        let bar = match (fault, self.faults) {
            // A NAT that was started anew may let it pass at once.
            (Fault::Died, 1) => Duration::ZERO,
            (Fault::Died, faults) => DEAD_BAR * (1 << (faults - 2)),
            (_, faults) => LOSSY_BAR * (1 << (faults - 1)),
        };
        self.barred = now + bar.min(LONGEST_BAR);
    }

    /// What was learnt is of another network, or of another time.
    pub(crate) const fn forget(&mut self) {
        (self.streak, self.recent, self.settled, self.unanswered) = (0, 0, 0, 0);
        (self.heard, self.waits) = (None, None);
    }
}
