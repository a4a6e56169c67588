//! Nodes that relay for both hosts, as the shell of each has them: asked for when packets have gone by the
//! relay for a while, open when both have asked, and gone some time before an end hears of it.

use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use rand::Rng as _;
use rand::rngs::SmallRng;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Packets go by the relay for so long before a node that relays is worth a connection, and what is further
/// apart is other traffic.
const PATIENCE: Duration = ms(500);
const TOGETHER: Duration = ms(5000);
/// A connection is kept for so long without packets for it.
const UNUSED: Duration = Duration::from_secs(300);
/// Who is granted no more is served for so long.
const GRACE: Duration = ms(1000);

/// A node that may relay.
pub(crate) struct Lane {
    /// Where both hosts have it.
    pub(crate) at: SocketAddr,
    pub(crate) delay: Duration,
    /// Of a thousand.
    pub(crate) loss: u32,
    granted: bool,
    runs: bool,
    /// Until when it carries, once the grant is taken.
    ends: Option<Timestamp>,
    ends_of: [End; 2],
}

/// What one host knows of it.
#[derive(Clone, Copy, Default)]
struct End {
    open: bool,
    /// When it hears that this is not so.
    hears: Option<Timestamp>,
}

/// Packets of a host by the relay, or by a node that relays.
#[derive(Clone, Copy, Default)]
pub(crate) struct Detour {
    relayed: Option<(Timestamp, Timestamp)>,
    wanted: Option<Timestamp>,
}

impl Detour {
    pub(crate) fn note(&mut self, now: Timestamp) {
        let since = self.relayed.filter(|(_, last)| now - *last <= TOGETHER);
        let since = since.map_or(now, |(since, _)| since);
        self.relayed = Some((since, now));
        if now - since >= PATIENCE {
            self.wanted = Some(now);
        }
    }

    /// What goes by a node that relays keeps the connection.
    pub(crate) const fn use_lane(&mut self, now: Timestamp) {
        self.wanted = Some(now);
    }

    fn wants(&self, now: Timestamp) -> bool {
        self.wanted.is_some_and(|at| now - at <= UNUSED)
    }
}

impl Lane {
    pub(crate) fn new(number: u8, delay: Duration) -> Self {
        Self {
            at: ([127, 1, 0, number], 51820).into(),
            delay,
            loss: 0,
            granted: true,
            runs: true,
            ends: None,
            ends_of: [End::default(); 2],
        }
    }

    /// The policy grants it, or does not any more.
    pub(crate) fn grant(&mut self, granted: bool, now: Timestamp) {
        (self.granted, self.ends) = (granted, (!granted).then_some(now + GRACE));
    }

    /// The node starts, or dies.
    pub(crate) const fn run(&mut self, runs: bool) {
        self.runs = runs;
    }

    pub(crate) const fn serves(&self) -> bool {
        self.granted && self.runs
    }

    pub(crate) const fn is_open(&self, me: usize) -> bool {
        self.ends_of[me].open
    }

    /// Whether a packet of this host comes through.
    pub(crate) fn carries(&self, me: usize, now: Timestamp) -> bool {
        self.is_open(me) && self.runs && self.ends.is_none_or(|at| now < at)
    }

    /// Lets time pass, with hosts that want it or not; whether this host has news.
    pub(crate) fn look(
        &mut self,
        me: usize,
        detours: &[Detour; 2],
        rng: &mut SmallRng,
        now: Timestamp,
    ) -> bool {
        let opens = self.serves() && detours.iter().all(|detour| detour.wants(now));
        let end = &mut self.ends_of[me];
        if opens == end.open {
            end.hears = None;
            return false;
        }
        // A connection takes some round trips; a node that dies is missed after a quarter of a second.
        let late = if opens { 20..400 } else { 0..600 };
        let hears = *end.hears.get_or_insert_with(|| now + ms(rng.random_range(late)));
        if now < hears {
            return false;
        }
        *end = End { open: opens, hears: None };
        true
    }
}
