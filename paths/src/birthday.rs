//! A hard NAT (another port for each destination) against an easy one that lets in only what was
//! sent to: nobody knows the hard one's port.
//!
//! So the hard side sends from 256 spare sockets, which makes 256 ports of its NAT that let the other
//! in, and the easy side sends to 1024 of its 64512 ports: one of them is hit by a chance of
//! 1 - (1 - 256/64512)^1024 = 98 %. It is 1280 small packets in three seconds, seldom.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use rand::{Rng as _, RngCore};

use crate::route::{Route, SocketId};

/// Sockets of the hard side.
pub const SPARES: u32 = 256;
/// Ports that the easy side tries.
pub const GUESSES: u32 = 1024;
/// How many packets go out at once, and how long after each other.
const BURST: u32 = 32;
const PACE: Duration = Duration::from_millis(50);
/// When the easy side begins: the hard side's ports have to be open.
const GUESS_AFTER: Duration = Duration::from_millis(400);
/// How long spare sockets wait for an answer.
const HELD: Duration = Duration::from_secs(10);
/// How long after one another there may be another.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(1800);

/// See the module.
#[derive(Debug)]
pub(crate) struct Birthday {
    run: Option<Run>,
    next: Timestamp,
    wait: Duration,
}

#[derive(Debug)]
struct Run {
    part: Part,
    done: u32,
    at: Timestamp,
    ends: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Spares {
        first: SocketId,
        target: SocketAddr,
    },
    /// A place in the ports and a step through them, so that none is tried twice.
    Guesses {
        ip: IpAddr,
        start: u32,
        step: u32,
    },
}

const PORTS: u32 = 64512;
const FIRST_PORT: u32 = 1024;

impl Default for Birthday {
    fn default() -> Self {
        Self { run: None, next: Timestamp::default(), wait: FIRST_WAIT }
    }
}

impl Birthday {
    pub(crate) fn may_begin(&self, now: Timestamp) -> bool {
        self.run.is_none() && now >= self.next
    }

    /// This node has the hard NAT: `first` and those after it are its spare sockets.
    pub(crate) fn send_from(&mut self, first: SocketId, target: SocketAddr, now: Timestamp) {
        self.begin(Part::Spares { first, target }, now, now);
    }

    /// The peer has the hard NAT, at this address.
    pub(crate) fn guess(&mut self, ip: IpAddr, rng: &mut dyn RngCore, now: Timestamp) {
        let start = rng.random_range(0..PORTS);
        // Odd, and none of the others of 64512 = 2^10 * 3^2 * 7.
        let step = loop {
            let step = rng.random_range(1..PORTS);
            if step % 2 != 0 && step % 3 != 0 && step % 7 != 0 {
                break step;
            }
        };
        self.begin(Part::Guesses { ip, start, step }, now + GUESS_AFTER, now);
    }

    fn begin(&mut self, part: Part, at: Timestamp, now: Timestamp) {
        self.run = Some(Run { part, done: 0, at, ends: now + HELD });
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.run.as_ref().map(|run| run.at)
    }

    /// The spare sockets that are open.
    pub(crate) fn spares(&self) -> Option<SocketId> {
        match self.run.as_ref()?.part {
            Part::Spares { first, .. } => Some(first),
            Part::Guesses { .. } => None,
        }
    }

    /// Where to ping from and to now.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<Route> {
        let Some(run) = &mut self.run else { return Vec::new() };
        if now < run.at {
            return Vec::new();
        }
        let all = match run.part {
            Part::Spares { .. } => SPARES,
            Part::Guesses { .. } => GUESSES,
        };
        let until = (run.done + BURST).min(all);
        let route = |number: u32| match run.part {
            Part::Spares { first, target } => {
                Route { socket: SocketId(first.0.wrapping_add(number)), to: target }
            }
            Part::Guesses { ip, start, step } => {
                let place =
                    (u64::from(start) + u64::from(step) * u64::from(number)) % u64::from(PORTS);
                // Below 65536 by its making.
                let port = u16::try_from(u64::from(FIRST_PORT) + place).unwrap_or(u16::MAX);
                SocketAddr::new(ip, port).into()
            }
        };
        let routes = (run.done..until).map(route).collect();
        run.done = until;
        run.at = if until == all { run.ends.max(now) } else { now + PACE };
        routes
    }

    /// Whether it has come to its end.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.run.as_ref().is_some_and(|run| now >= run.ends)
    }

    pub(crate) fn stop(&mut self) {
        self.run = None;
    }

    /// It found a way: it may be needed again soon.
    pub(crate) const fn succeeded(&mut self) {
        self.wait = FIRST_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn guesses_are_all_different_paced_and_bounded() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut birthday = Birthday::default();
        let start = Timestamp::from_epoch(Duration::from_secs(100));
        birthday.guess([192, 0, 2, 1].into(), &mut rng, start);
        let mut ports = BTreeSet::new();
        let (mut now, mut most) = (start, 0);
        while !birthday.is_over(now) {
            now = birthday.at().unwrap().max(now);
            let due = birthday.due(now);
            most = most.max(due.len());
            ports.extend(due.iter().map(|route| route.to.port()));
        }
        assert_eq!((ports.len(), most), (GUESSES as usize, BURST as usize));
        assert!(ports.iter().all(|&port| port >= 1024));
        assert!(!birthday.may_begin(now), "it is still held as running");
        birthday.stop();
        assert!(!birthday.may_begin(now) && birthday.may_begin(start + FIRST_WAIT));
    }
}
