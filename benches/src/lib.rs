//! What a packet meets on its way, each step by itself and all of them together: [`steps`].
//!
//! criterion times them (`benches/`), and a test holds that none allocates (`tests/`). Whoever uses
//! this crate gets an allocator that counts.
#![allow(clippy::missing_panics_doc, reason = "scaffolding: what cannot fail is expected not to")]

mod functions;
mod packets;
mod tunnel;

use std::time::{Duration, Instant};

/// Rounds after which every buffer has the size at which it stays.
const WARM_UP: u64 = 3;
/// Rounds in which allocations are counted: one that comes rarely is to be seen too.
const COUNTED: u64 = 50;

/// Something that is done to packets, a round of many at a time.
pub trait Work {
    /// Makes ready for a round, which is not measured.
    fn prepare(&mut self) {}

    /// One round.
    fn run(&mut self);
}

/// A step of a packet's way.
pub struct Step {
    /// What is done.
    pub group: &'static str,
    /// To what.
    pub name: &'static str,
    /// To how many packets in a round.
    pub packets: u64,
    work: Box<dyn Work>,
}

/// All of them.
#[must_use]
pub fn steps() -> Vec<Step> {
    let mut steps = tunnel::steps();
    steps.extend(functions::steps());
    steps
}

impl Step {
    fn new(
        group: &'static str,
        name: &'static str,
        packets: usize,
        work: impl Work + 'static,
    ) -> Self {
        Self { group, name, packets: packets as u64, work: Box::new(work) }
    }

    /// How long so many rounds take.
    pub fn time(&mut self, rounds: u64) -> Duration {
        let mut time = Duration::ZERO;
        for _ in 0..rounds {
            self.work.prepare();
            let start = Instant::now();
            self.work.run();
            time += start.elapsed();
        }
        time
    }

    /// How often a packet makes it allocate once it is warm.
    #[must_use]
    pub fn allocations_per_packet(&mut self) -> f64 {
        self.time(WARM_UP);
        let mut count = 0;
        for _ in 0..COUNTED {
            self.work.prepare();
            count += allocation_counter::measure(|| self.work.run()).count_total;
        }
        count as f64 / (COUNTED * self.packets) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allocates as it makes ready, which does not count, and twice in a round.
    struct Wasteful;

    impl Work for Wasteful {
        fn prepare(&mut self) {
            drop(std::hint::black_box(Box::new(0u8)));
        }

        fn run(&mut self) {
            let mut grows = vec![0u8; 10];
            std::hint::black_box(&mut grows).reserve_exact(1000);
        }
    }

    #[test]
    fn allocations_are_seen_and_shared_out_among_packets() {
        let mut step = Step::new("waste", "twice", 4, Wasteful);
        assert_eq!(step.allocations_per_packet(), 0.5);
    }
}
