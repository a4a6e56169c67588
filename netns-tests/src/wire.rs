//! One direction of an impaired link, as a pure schedule: no clock, no descriptor, no thread.
//!
//! A frame passes two stages. The *line* sends frames one after another at the configured rate; what
//! has to wait stands in a queue of bounded size. The *flight* then holds each frame for the delay.
//! Loss, duplication, corruption and reordering are drawn when a frame leaves the line, so a change
//! of settings holds at once for all that still waits.

mod impairment;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use rand::Rng;

pub use impairment::{Counters, Impairment, Rate};

/// Most bytes one direction holds, waiting and in flight: 200 ms at 1 Gbit/s, and some.
const HELD_LIMIT: usize = 32 << 20;

/// Corruption spares the Ethernet header, so that the frame still reaches a host which must notice.
const ETHERNET_HEADER: usize = 14;

/// One direction of an impaired link.
#[derive(Debug)]
pub struct Wire {
    impairment: Impairment,
    up: bool,
    line: VecDeque<Waiting>,
    line_bytes: usize,
    /// When the line has sent all that it was given; may lag behind by the burst.
    line_free_at: Option<Instant>,
    flight: BinaryHeap<Reverse<InFlight>>,
    flight_bytes: usize,
    last_due: Option<Instant>,
    next_order: u64,
    highest_delivered: Option<u64>,
    counters: Counters,
}

impl Wire {
    /// An idle wire that is up.
    #[must_use]
    pub fn new(impairment: Impairment) -> Self {
        impairment.assert_valid();
        Self {
            impairment,
            up: true,
            line: VecDeque::new(),
            line_bytes: 0,
            line_free_at: None,
            flight: BinaryHeap::new(),
            flight_bytes: 0,
            last_due: None,
            next_order: 0,
            highest_delivered: None,
            counters: Counters::default(),
        }
    }

    /// Takes a frame at `now`. It may be dropped here, by the queue or because the wire is down.
    pub fn push(&mut self, frame: Vec<u8>, now: Instant, rng: &mut impl Rng) {
        self.counters.received += 1;
        if !self.up {
            self.counters.dropped_down += 1;
            return;
        }
        self.run_line(now, rng);
        if self.is_full_for(frame.len()) {
            self.counters.dropped_queue += 1;
            return;
        }
        self.line_bytes += frame.len();
        self.line.push_back(Waiting { arrived: now, frame });
        self.run_line(now, rng);
    }

    /// The next frame that is due at the far end by `now`. Call until it returns `None`.
    pub fn pop(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Vec<u8>> {
        self.run_line(now, rng);
        if self.flight.peek()?.0.due > now {
            return None;
        }
        let Reverse(landed) = self.flight.pop()?;
        self.flight_bytes -= landed.frame.len();
        self.counters.forwarded += 1;
        self.counters.forwarded_bytes += landed.frame.len() as u64;
        if self.highest_delivered > Some(landed.order) {
            self.counters.reordered += 1;
        }
        self.highest_delivered = self.highest_delivered.max(Some(landed.order));
        Some(landed.frame)
    }

    /// When [`Self::pop`] has something to do next; `None` while the wire is idle.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        let due = self.flight.peek().map(|Reverse(frame)| frame.due);
        due.into_iter().chain(self.next_departure()).min()
    }

    /// Changes the settings. Frames in flight keep the time they were given.
    ///
    /// # Panics
    /// If a probability lies outside `0.0..=1.0`.
    pub fn set(&mut self, impairment: Impairment, now: Instant) {
        impairment.assert_valid();
        // Time owed at the old rate says nothing about the new one.
        self.line_free_at = self.line_free_at.map(|free| free.min(now));
        self.impairment = impairment;
    }

    /// Cuts the wire (what it holds is lost) or mends it.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        if !up {
            self.counters.dropped_down += (self.line.len() + self.flight.len()) as u64;
            self.line.clear();
            self.flight.clear();
            self.line_bytes = 0;
            self.flight_bytes = 0;
        }
    }

    /// What the wire did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn note_refused(&mut self, frames: u64) {
        self.counters.refused += frames;
    }

    fn is_full_for(&self, len: usize) -> bool {
        let queue_full = self.impairment.rate.is_some()
            && !self.line.is_empty()
            && self.line_bytes + len > self.impairment.queue;
        queue_full || self.line_bytes + self.flight_bytes + len > HELD_LIMIT
    }

    fn next_departure(&self) -> Option<Instant> {
        let arrived = self.line.front()?.arrived;
        Some(match (self.impairment.rate, self.line_free_at) {
            (Some(_), Some(free)) => free.max(arrived),
            (Some(_), None) | (None, _) => arrived,
        })
    }

    /// Sends every frame whose turn on the line has come by `now`.
    fn run_line(&mut self, now: Instant, rng: &mut impl Rng) {
        while let Some(departs) = self.next_departure().filter(|&departs| departs <= now) {
            let Some(Waiting { frame, .. }) = self.line.pop_front() else {
                return;
            };
            self.line_bytes -= frame.len();
            if let Some(rate) = self.impairment.rate {
                let credit = rate.time_for(self.impairment.burst);
                let earliest = departs.checked_sub(credit).unwrap_or(departs);
                let free = self.line_free_at.map_or(earliest, |free| free.max(earliest));
                self.line_free_at = Some(free + rate.time_for(frame.len()));
            }
            self.launch(frame, departs, rng);
        }
    }

    fn launch(&mut self, mut frame: Vec<u8>, departs: Instant, rng: &mut impl Rng) {
        if rng.random_bool(self.impairment.loss) {
            self.counters.lost += 1;
            return;
        }
        if frame.len() > ETHERNET_HEADER && rng.random_bool(self.impairment.corrupt) {
            let at = rng.random_range(ETHERNET_HEADER..frame.len());
            frame[at] ^= 1 << rng.random_range(0..8);
            self.counters.corrupted += 1;
        }
        let copy = rng.random_bool(self.impairment.duplicate).then(|| frame.clone());
        let due = self.draw_due(departs, rng);
        self.fly(frame, due);
        if let Some(copy) = copy {
            self.counters.duplicated += 1;
            self.fly(copy, due);
        }
    }

    /// Jitter alone keeps order, as a queue somewhere on the way would; only a frame chosen for
    /// reordering is held back so that later ones overtake it.
    fn draw_due(&mut self, departs: Instant, rng: &mut impl Rng) -> Instant {
        let Impairment { delay, jitter, .. } = self.impairment;
        let spread = rng.random_range(Duration::ZERO..=jitter * 2);
        let due = departs + (delay + spread).saturating_sub(jitter);
        if rng.random_bool(self.impairment.reorder) {
            return due + self.impairment.reorder_by;
        }
        let due = self.last_due.map_or(due, |last| due.max(last));
        self.last_due = Some(due);
        due
    }

    fn fly(&mut self, frame: Vec<u8>, due: Instant) {
        self.flight_bytes += frame.len();
        self.flight.push(Reverse(InFlight { due, order: self.next_order, frame }));
        self.next_order += 1;
    }
}

#[derive(Debug)]
struct Waiting {
    arrived: Instant,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct InFlight {
    due: Instant,
    order: u64,
    frame: Vec<u8>,
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InFlight {}
