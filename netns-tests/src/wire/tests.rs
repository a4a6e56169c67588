use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Counters, Impairment, Rate, Wire};

const MILLI: Duration = Duration::from_millis(1);

/// A wire on a virtual clock; frames carry their number in the first bytes.
struct Bench {
    wire: Wire,
    rng: SmallRng,
    start: Instant,
    now: Instant,
    delivered: Vec<(u32, Duration)>,
}

impl Bench {
    fn new(impairment: Impairment, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            wire: Wire::new(impairment),
            rng: SmallRng::seed_from_u64(seed),
            start,
            now: start,
            delivered: Vec::new(),
        }
    }

    fn send(&mut self, number: u32, len: usize) {
        let mut frame = vec![0; len.max(4)];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        self.wire.push(frame, self.now, &mut self.rng);
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(event) = self.wire.next_event().filter(|&event| event <= until) {
            self.now = self.now.max(event);
            while let Some(frame) = self.wire.pop(self.now, &mut self.rng) {
                let number = u32::from_be_bytes(frame[..4].try_into().unwrap());
                self.delivered.push((number, self.now - self.start));
            }
        }
        self.now = until;
    }

    fn drain(&mut self) -> Counters {
        self.advance(Duration::from_secs(3600));
        assert_eq!(self.wire.next_event(), None);
        self.wire.counters()
    }

    fn numbers(&self) -> Vec<u32> {
        self.delivered.iter().map(|&(number, _)| number).collect()
    }
}

#[test]
fn a_perfect_wire_delivers_at_once() {
    let mut bench = Bench::new(Impairment::NONE, 1);
    bench.send(0, 1500);
    bench.send(1, 1500);
    bench.advance(Duration::ZERO);
    assert_eq!(bench.numbers(), [0, 1]);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let slow =
        Impairment { rate: Some(Rate::mbit(1)), burst: 1000, queue: 3000, ..Impairment::NONE };
    let mut bench = Bench::new(slow, 1);
    (0..10).for_each(|number| bench.send(number, 1000));
    let counters = bench.drain();
    // Two leave on the burst, three wait.
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
    assert_eq!(counters.dropped_queue, 5);
}

#[test]
fn an_outage_loses_what_is_in_flight_and_ends() {
    let slow = Impairment { delay: 10 * MILLI, ..Impairment::NONE };
    let mut bench = Bench::new(slow, 1);
    bench.send(0, 100);
    bench.advance(MILLI);
    bench.wire.set_up(false);
    bench.send(1, 100);
    bench.advance(20 * MILLI);
    bench.wire.set_up(true);
    bench.send(2, 100);
    assert_eq!(bench.drain().dropped_down, 2);
    assert_eq!(bench.numbers(), [2]);
}

#[test]
fn a_new_rate_holds_for_what_already_waits() {
    let crawl = Impairment { rate: Some(Rate::bits(8)), burst: 0, ..Impairment::NONE };
    let mut bench = Bench::new(crawl, 1);
    (0..3).for_each(|number| bench.send(number, 1000));
    bench.advance(MILLI);
    assert_eq!(bench.numbers(), [0]);
    bench.wire.set(Impairment::NONE, bench.now);
    bench.advance(MILLI);
    assert_eq!(bench.numbers(), [0, 1, 2]);
}

#[test]
fn a_held_back_frame_is_overtaken() {
    let mut bench = Bench::new(Impairment { reorder: 1.0, ..Impairment::NONE }, 1);
    bench.send(0, 100);
    bench.wire.set(Impairment::NONE, bench.now);
    bench.send(1, 100);
    assert_eq!(bench.drain().reordered, 1);
    assert_eq!(bench.numbers(), [1, 0]);
}

#[test]
fn corruption_flips_one_bit_behind_the_header() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut wire = Wire::new(Impairment { corrupt: 1.0, ..Impairment::NONE });
    let now = Instant::now();
    wire.push(vec![0; 60], now, &mut rng);
    let frame = wire.pop(now, &mut rng).unwrap();
    assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    assert_eq!(frame[..14], [0; 14]);
}

#[test]
#[should_panic(expected = "loss is a probability")]
fn a_loss_above_one_is_refused() {
    let _ = Wire::new(Impairment { loss: 1.5, ..Impairment::NONE });
}

prop_compose! {
    fn any_impairment()(
        delay in 0u64..50, jitter in 0u64..60, reorder_by in 0u64..20,
        loss in 0.0..=1.0f64, duplicate in 0.0..=1.0f64, reorder in 0.0..=1.0f64, corrupt in 0.0..=1.0f64,
        rate in proptest::option::of(1_000u64..1_000_000_000), burst in 0usize..20_000, queue in 0usize..100_000,
    ) -> Impairment {
        Impairment {
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            loss, duplicate, reorder, corrupt,
            reorder_by: Duration::from_millis(reorder_by),
            rate: rate.map(Rate::bits),
            burst, queue,
        }
    }
}

fn any_sends() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((0u64..5_000, 14usize..1600), 0..200)
}

fn replay(impairment: Impairment, sends: &[(u64, usize)], seed: u64) -> Bench {
    let mut bench = Bench::new(impairment, seed);
    for (number, &(pause, len)) in (0u32..).zip(sends) {
        bench.advance(Duration::from_micros(pause));
        bench.send(number, len);
    }
    bench
}

proptest! {
    #[test]
    fn every_frame_is_accounted_for(
        impairment in any_impairment(), sends in any_sends(), seed: u64, cut in any::<bool>(),
    ) {
        let mut bench = replay(impairment, &sends, seed);
        if cut {
            bench.wire.set_up(false);
        }
        let c = bench.drain();
        prop_assert_eq!(c.received, sends.len() as u64);
        prop_assert_eq!(c.forwarded, bench.delivered.len() as u64);
        prop_assert_eq!(
            c.received + c.duplicated,
            c.forwarded + c.lost + c.dropped_queue + c.dropped_down
        );
    }

    #[test]
    fn one_seed_gives_one_outcome(impairment in any_impairment(), sends in any_sends(), seed: u64) {
        let [mut one, mut two] = [(); 2].map(|()| replay(impairment, &sends, seed));
        prop_assert_eq!(one.drain(), two.drain());
        prop_assert_eq!(one.delivered, two.delivered);
    }

    #[test]
    fn order_is_kept_and_nothing_is_early(
        impairment in any_impairment(), sends in any_sends(), seed: u64,
    ) {
        let ordered = Impairment { reorder: 0.0, ..impairment };
        let mut bench = replay(ordered, &sends, seed);
        prop_assert_eq!(bench.drain().reordered, 0);
        prop_assert!(bench.numbers().is_sorted());
        let sent_at: Vec<Duration> = sends
            .iter()
            .scan(Duration::ZERO, |at, &(pause, _)| { *at += Duration::from_micros(pause); Some(*at) })
            .collect();
        for &(number, at) in &bench.delivered {
            let least = ordered.delay.saturating_sub(ordered.jitter);
            prop_assert!(at >= sent_at[number as usize] + least);
        }
    }

    #[test]
    fn the_rate_is_never_exceeded(
        megabits in 1u32..1000, burst in 0usize..20_000, sends in any_sends(), seed: u64,
    ) {
        let rate = Rate::mbit(megabits);
        let limited = Impairment { rate: Some(rate), burst, queue: 100_000, ..Impairment::NONE };
        let mut bench = replay(limited, &sends, seed);
        bench.drain();
        let Some(&(_, first)) = bench.delivered.first() else { return Ok(()) };
        let mut bytes = 0;
        for &(number, at) in &bench.delivered {
            // What came before this frame must have had its time, the burst aside.
            prop_assert!(rate.time_for(bytes) <= at - first + rate.time_for(burst) + MILLI / 100);
            bytes += sends[number as usize].1;
        }
    }
}
