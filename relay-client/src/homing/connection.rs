//! One connection, and whether its relay lives.

use std::time::{Duration, Instant};

use super::RelayIndex;

/// Time between pings while there is traffic, or longer if the way there and back is.
const BEAT: Duration = Duration::from_millis(50);
/// Pings without a sign of life, after which a relay is dead.
const UNANSWERED: u32 = 4;
/// Time between pings while there is none.
const REST: Duration = Duration::from_secs(10);

/// A connection to a relay; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(super) u32);

pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) relay: RelayIndex,
    /// When it was begun; once it is admitted, when that was.
    pub(super) since: Instant,
    /// When it has to be admitted; `None` once it is.
    admission: Option<Instant>,
    /// When the relay ends, if it has said so.
    pub(super) ends: Option<Instant>,
    /// When we leave it, if we have a new home.
    pub(super) close: Option<Instant>,
    pub(super) liveness: Pulse,
}

impl Connection {
    pub(super) const fn new(
        id: ConnectionId,
        relay: RelayIndex,
        admission: Instant,
        now: Instant,
    ) -> Self {
        let liveness = Pulse::new(now);
        Self {
            id,
            relay,
            since: now,
            admission: Some(admission),
            ends: None,
            close: None,
            liveness,
        }
    }

    pub(super) const fn is_admitted(&self) -> bool {
        self.admission.is_none()
    }

    pub(super) const fn admit(&mut self, now: Instant) {
        self.admission = None;
        self.since = now;
        self.liveness = Pulse::new(now);
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.admission
    }

    /// Whether it took too long, or we leave it.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        [self.admission, self.close].into_iter().flatten().any(|at| at <= now)
    }
}

/// What is known of a relay's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// Nothing is to be done.
    Fine,
    /// Ask it.
    Ask(u64),
    /// It is dead.
    Dead,
}

/// Pings, and what came. The relay is asked when something was sent or had come lately and then nothing
/// comes; while packets come it need not be. Silence is counted in pings of our own, so a node that was
/// stopped for a while does not take its relay for dead.
pub(super) struct Pulse {
    due: Instant,
    sent: bool,
    heard: bool,
    /// Nothing had come before the latest question either.
    quiet: bool,
    unanswered: u32,
    number: u64,
    asked: Instant,
    rtt: Duration,
}

impl Pulse {
    const fn new(now: Instant) -> Self {
        Self {
            due: now,
            sent: true,
            heard: false,
            quiet: false,
            unanswered: 0,
            number: 0,
            asked: now,
            rtt: Duration::ZERO,
        }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = true;
        self.look_soon(now);
    }

    pub(super) fn heard(&mut self, now: Instant) {
        (self.heard, self.unanswered) = (true, 0);
        self.look_soon(now);
    }

    pub(super) fn pong(&mut self, number: u64, now: Instant) {
        self.unanswered = 0;
        if number == self.number {
            self.rtt = now.saturating_duration_since(self.asked);
        }
    }

    pub(super) fn beat(&mut self, now: Instant) -> Liveness {
        if now < self.due {
            return Liveness::Fine;
        }
        if self.unanswered >= UNANSWERED {
            return Liveness::Dead;
        }
        let (sent, heard) = (self.sent, self.heard);
        (self.sent, self.heard) = (false, false);
        self.due = now + self.interval();
        if heard {
            self.quiet = false;
            return Liveness::Fine;
        }
        if self.unanswered == 0 && !sent && self.quiet && now < self.asked + REST {
            self.due = self.asked + REST;
            return Liveness::Fine;
        }
        self.quiet = true;
        self.unanswered += 1;
        self.number += 1;
        self.asked = now;
        Liveness::Ask(self.number)
    }

    fn look_soon(&mut self, now: Instant) {
        self.due = self.due.min(now + self.interval());
    }

    fn interval(&self) -> Duration {
        BEAT.max(self.rtt)
    }
}
