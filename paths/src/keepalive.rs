//! How often a quiet way is pinged, so that no NAT on it forgets it: learnt, for no NAT says how long it
//! remembers, and a fixed pause is too long for some and too short for most.
//!
//! It is learnt for each peer, not for the node: a way passes the NATs of both ends, and the one that
//! forgets first counts. So a peer that lies about what it sees harms the way to itself only.
//!
//! The first ping after a silence tries whether the way has lasted it. If it is answered, the pause grows
//! by a step. If it is not, and the peer answers soon after, or if our own address was another since, the
//! way has lapsed: the pause shrinks, and silences of that length are not tried again for a long time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;

use crate::route::Route;

/// The pauses. The longest is less than what even poor NATs are asked to remember (RFC 4787: two minutes;
/// many have half a minute).
const STEPS: [Duration; 10] = [
    Duration::from_millis(1000),
    Duration::from_millis(1500),
    Duration::from_millis(2000),
    Duration::from_millis(3000),
    Duration::from_millis(4000),
    Duration::from_millis(6000),
    Duration::from_millis(8000),
    Duration::from_millis(12_000),
    Duration::from_millis(16_000),
    Duration::from_millis(24_000),
];
/// Where it begins: few NATs forget sooner.
const FIRST: usize = 2;
/// A peer that answers within this was not gone, the way was.
const LIVES: Duration = Duration::from_secs(10);
/// After what time a silence is tried again that a way has not lasted: the first time, and at most.
const RETRY: Duration = Duration::from_secs(1800);
const LONGEST_RETRY: Duration = Duration::from_secs(86_400);

/// The first ping after a silence, of which is not known yet what became of it.
#[derive(Clone, Copy, Debug)]
struct Trial {
    silence: Duration,
    at: Timestamp,
    /// When it was asked once more.
    again: Option<Timestamp>,
    /// Whether the way was left since.
    left: bool,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    /// Where the peer was when this was learnt: elsewhere are other NATs.
    ip: Option<IpAddr>,
    /// The pause, an index of [`STEPS`].
    step: usize,
    /// From which step on the way has lapsed, when that is tried again, and how often it has.
    lapsed: usize,
    retry: Timestamp,
    lapses: u32,
    /// When something has left or come last.
    touched: Timestamp,
    trial: Option<Trial>,
    /// From where our last ping came, as the peer saw it.
    seen: Option<(Route, SocketAddr)>,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            ip: None,
            step: FIRST,
            lapsed: STEPS.len(),
            retry: Timestamp::default(),
            lapses: 0,
            touched: Timestamp::default(),
            trial: None,
            seen: None,
        }
    }
}

impl Keepalive {
    /// A way to there is in use from now on.
    pub(crate) fn begin(&mut self, ip: IpAddr, now: Timestamp) {
        if self.ip != Some(ip) {
            *self = Self { ip: Some(ip), ..Self::default() };
        }
        self.trial = self.trial.filter(|trial| trial.left);
        self.touched = now;
    }

    /// How long the way may be silent.
    pub(crate) const fn pause(&self) -> Duration {
        STEPS[self.step]
    }

    /// The shortest silence that it has not lasted.
    pub(crate) fn lapsed(&self) -> Option<Duration> {
        STEPS.get(self.lapsed).copied()
    }

    /// A ping leaves.
    pub(crate) fn asked(&mut self, now: Timestamp) {
        let silence = now - std::mem::replace(&mut self.touched, now);
        match &mut self.trial {
            Some(trial) if !trial.left => _ = trial.again.get_or_insert(now),
            _ if silence >= STEPS[0] => {
                self.trial = Some(Trial { silence, at: now, again: None, left: false });
            }
            _ => {}
        }
    }

    /// Something of the peer's came by itself: the way has lasted, but which end has kept it open is not known.
    pub(crate) const fn touch(&mut self, now: Timestamp) {
        self.touched = now;
    }

    /// A ping that left at `at` is answered, and came from `seen`.
    pub(crate) fn answered(
        &mut self,
        route: Route,
        at: Timestamp,
        seen: SocketAddr,
        now: Timestamp,
    ) {
        self.touched = now;
        let before = self.seen.replace((route, seen));
        let moved = before.is_some_and(|before| before.0 == route && before.1 != seen);
        if self.trial.is_some_and(|trial| trial.left) {
            return self.answers(route.to.ip(), now);
        }
        let Some(trial) = self.trial.take_if(|trial| at >= trial.at) else { return };
        if moved {
            self.shrink(trial.silence, now);
        } else if at == trial.at {
            self.grow(trial.silence, now);
        } else if trial.again != Some(at) {
            // One ping alone may be lost by chance.
            self.shrink(trial.silence, now);
        }
    }

    /// Whether the way in use may have lapsed: it has not answered since it was silent.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        // Where less does not help, it is something else.
        self.step > 0 && self.trial.is_some()
    }

    /// The way does not answer and is left.
    pub(crate) const fn leave(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.left = true;
        }
    }

    /// The peer answers from there, by whatever way.
    pub(crate) fn answers(&mut self, ip: IpAddr, now: Timestamp) {
        if self.ip == Some(ip) {
            self.lives(now);
        }
    }

    /// The peer is there: was its way left for its silence, that was to blame.
    pub(crate) fn lives(&mut self, now: Timestamp) {
        if let Some(trial) = self.trial.take_if(|trial| trial.left)
            && now - trial.at < LIVES
        {
            self.shrink(trial.silence, now);
        }
    }

    /// Nothing is sent any more.
    pub(crate) const fn rest(&mut self) {
        self.trial = None;
    }

    fn grow(&mut self, silence: Duration, now: Timestamp) {
        if silence < STEPS[self.step] {
            return;
        }
        if self.step >= self.lapsed {
            // It was chance, or the NAT is another.
            (self.lapsed, self.lapses) = (STEPS.len(), 0);
        }
        let next = self.step + 1;
        if next < STEPS.len() && (next < self.lapsed || now >= self.retry) {
            self.step = next;
        }
    }

    fn shrink(&mut self, silence: Duration, now: Timestamp) {
        // A silence is known within the time that it takes to look at traffic.
        let lapsed = STEPS.partition_point(|step| *step < silence * 9 / 10).max(1);
        self.lapsed = self.lapsed.min(lapsed);
        self.step = self.step.min(lapsed - 1);
        self.retry = now + (RETRY * (1 << self.lapses.min(6))).min(LONGEST_RETRY);
        self.lapses += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn route() -> Route {
        SocketAddr::from(([192, 0, 2, 1], 7)).into()
    }

    fn seen(port: u16) -> SocketAddr {
        ([192, 0, 2, 2], port).into()
    }

    /// A way that is quiet, with a NAT that remembers it for so long.
    struct Quiet {
        keepalive: Keepalive,
        now: Timestamp,
        remembers: Duration,
        port: u16,
    }

    impl Quiet {
        fn new(remembers: Duration) -> Self {
            let now = Timestamp::from_epoch(secs(100));
            let mut keepalive = Keepalive::default();
            keepalive.begin(route().to.ip(), now);
            keepalive.answered(route(), now, seen(1), now);
            Self { keepalive, now, remembers, port: 1 }
        }

        /// Lets time pass; how often the way has lapsed.
        fn run(&mut self, time: Duration, lapse: fn(&mut Self)) -> u32 {
            let (end, mut lapses) = (self.now + time, 0);
            while self.now < end {
                let pause = self.keepalive.pause();
                self.now = self.now + pause;
                self.keepalive.asked(self.now);
                if pause < self.remembers {
                    self.keepalive.answered(route(), self.now, seen(self.port), self.now);
                } else {
                    lapses += 1;
                    lapse(self);
                }
            }
            lapses
        }

        /// It is left, and found again.
        fn died(&mut self) {
            self.keepalive.leave();
            self.now = self.now + secs(2);
            self.keepalive.answers(route().to.ip(), self.now);
            self.keepalive.begin(route().to.ip(), self.now);
        }

        /// It answers, but this end is elsewhere.
        fn moved(&mut self) {
            self.port += 1;
            self.keepalive.answered(route(), self.now, seen(self.port), self.now);
        }
    }

    #[test]
    fn it_grows_to_what_the_nat_remembers_and_fails_once_for_that() {
        for lapse in [Quiet::died, Quiet::moved] {
            for (remembers, pause) in [(2, 1500), (4, 3000), (20, 16_000), (120, 24_000)] {
                let mut quiet = Quiet::new(secs(remembers));
                let lapses = quiet.run(secs(1000), lapse);
                assert_eq!(lapses, u32::from(pause < 24_000), "{remembers}");
                assert_eq!(quiet.keepalive.pause(), Duration::from_millis(pause), "{remembers}");
            }
        }
    }

    #[test]
    fn longer_silences_are_tried_again_ever_more_seldom() {
        let mut quiet = Quiet::new(secs(5));
        let lapses = quiet.run(secs(2 * 86_400), Quiet::died);
        assert!((5..10).contains(&lapses), "{lapses}");
        quiet.remembers = secs(300);
        assert_eq!(quiet.run(secs(2 * 86_400), Quiet::died), 0);
        assert_eq!((quiet.keepalive.pause(), quiet.keepalive.lapsed()), (secs(24), None));
    }

    #[test]
    fn chance_and_a_peer_that_is_gone_teach_nothing() {
        let mut quiet = Quiet::new(secs(120));
        let before = quiet.keepalive.pause();
        let (keepalive, now) = (&mut quiet.keepalive, quiet.now);
        // One ping is lost.
        keepalive.asked(now + secs(2));
        let again = now + Duration::from_millis(2300);
        keepalive.asked(again);
        keepalive.answered(route(), again, seen(1), again);
        assert_eq!(keepalive.pause(), before);
        // The peer is away for a minute, or answers elsewhere.
        keepalive.asked(now + secs(5));
        keepalive.leave();
        keepalive.answers(seen(1).ip(), now + secs(6));
        keepalive.lives(now + secs(60));
        assert_eq!((keepalive.pause(), keepalive.lapsed()), (before, None));
        // What the peer has sent in between is no silence.
        keepalive.begin(route().to.ip(), now + secs(60));
        keepalive.touch(now + secs(90));
        keepalive.asked(now + secs(90));
        keepalive.answered(route(), now + secs(90), seen(1), now + secs(90));
        assert_eq!(keepalive.pause(), before);
    }

    #[test]
    fn where_the_peer_is_elsewhere_it_begins_anew() {
        let mut quiet = Quiet::new(secs(2));
        quiet.run(secs(60), Quiet::died);
        assert!(quiet.keepalive.pause() < STEPS[FIRST]);
        quiet.keepalive.begin(seen(1).ip(), quiet.now);
        assert_eq!((quiet.keepalive.pause(), quiet.keepalive.lapsed()), (STEPS[FIRST], None));
    }
}
