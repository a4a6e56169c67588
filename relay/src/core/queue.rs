//! What waits for a client: frames that are no packets first, then each sender's packets in turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::relay::{MAX_PAYLOAD, RelayFrame};

use super::output::{Delivery, Packet};
use super::turns::Turns;

/// What may be handed to a connection that it has not written yet: enough to keep it busy, little
/// enough that what comes later may still overtake or be dropped.
pub(super) const WINDOW: usize = 64 << 10;
/// What a connection may have written before it says so: saying it for each packet costs more than the
/// packet, and what is left of the window still keeps a connection busy.
pub const UNSAID: usize = WINDOW / 2;
/// Frames that may wait for one who does not read.
const CONTROL_LIMIT: usize = 256;
/// What a frame that is no packet counts in the window.
const CONTROL_COST: usize = 64;
/// What packets cost beside their bytes: their place in a queue and in the tables beside it, which grow
/// by doubling, and what allocating them takes. A byte that waits costs no less.
const PACKET_COST: usize = 384;

/// The least limit of a queue: the longest batch may wait.
pub const LEAST_QUEUE: usize = MAX_PAYLOAD + PACKET_COST;

/// Packets as a queue sees them.
pub trait Queued {
    /// Whose turn they take.
    fn sender(&self) -> PublicKey;
    /// Their bytes.
    fn bytes(&self) -> usize;
    /// How many they are.
    fn datagrams(&self) -> usize;
    /// When they came.
    fn at(&self) -> Instant;

    /// What it costs to hold them, in bytes.
    fn cost(&self) -> usize {
        self.bytes() + PACKET_COST
    }
}

/// A frame that is no packet.
pub trait Control {
    /// What it counts in the window.
    fn cost(&self) -> usize {
        CONTROL_COST
    }
}

impl Control for RelayFrame<'_> {}

/// The queue of one client, or of a link to another relay.
#[derive(Debug)]
pub(super) struct Queue<P = Packet, F = RelayFrame<'static>> {
    control: VecDeque<F>,
    /// None for whom nothing has waited for a while: a silent client keeps no room.
    packets: Option<Box<Turns<P>>>,
    /// What was handed over and is not written yet.
    in_flight: usize,
}

impl<P: Queued, F: Control> Queue<P, F> {
    pub(super) const fn new() -> Self {
        Self { control: VecDeque::new(), packets: None, in_flight: 0 }
    }

    /// What the packets that wait cost.
    pub(super) fn cost(&self) -> usize {
        self.packets.as_ref().map_or(0, |packets| packets.cost())
    }

    /// When the packets that have waited longest came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.packets.as_ref()?.oldest()
    }

    /// Whether no frame waits and the connection has room for one.
    pub(super) fn is_open(&self) -> bool {
        self.control.is_empty() && self.in_flight < WINDOW
    }

    /// Adds a frame; false if the client does not read.
    pub(super) fn push_control(&mut self, frame: F) -> bool {
        self.control.push_back(frame);
        self.control.len() <= CONTROL_LIMIT
    }

    /// Hands packets over at once, if nothing is before them and the connection has room.
    pub(super) fn pass(&mut self, packet: P) -> Result<Delivery<P, F>, P> {
        if !self.is_open() || self.cost() > 0 {
            return Err(packet);
        }
        self.in_flight += packet.cost();
        Ok(Delivery::Packet(packet))
    }

    /// Adds packets; the oldest of whoever has most waiting go, if there is no room. Gives how many
    /// datagrams were dropped.
    pub(super) fn push(&mut self, packet: P, limit: usize) -> usize {
        let packets = self.packets.get_or_insert_default();
        packets.push(packet);
        let mut dropped = 0;
        while packets.cost() > limit {
            dropped += packets.drop_of_most();
        }
        dropped
    }

    /// What to hand over next, if the connection has room for it.
    pub(super) fn pop(&mut self) -> Option<Delivery<P, F>> {
        if self.in_flight >= WINDOW {
            return None;
        }
        let next = match self.control.pop_front() {
            Some(frame) => Delivery::Control(frame),
            None => Delivery::Packet(self.packets.as_mut()?.pop()?),
        };
        if self.control.is_empty() {
            // Seldom more than one waits, and a silent client keeps no room.
            self.control = VecDeque::new();
        }
        self.in_flight += next.cost();
        Some(next)
    }

    /// The connection has written this much.
    pub(super) const fn written(&mut self, cost: usize) {
        self.in_flight = self.in_flight.saturating_sub(cost);
    }

    /// Drops what has waited for `age`; gives how many datagrams it was.
    pub(super) fn drop_old(&mut self, age: Duration, now: Instant) -> usize {
        self.packets.as_mut().map_or(0, |packets| packets.drop_old(age, now))
    }

    /// Drops the oldest packets of whoever has most; gives how many datagrams they were.
    pub(super) fn drop_of_most(&mut self) -> usize {
        self.packets.as_mut().map_or(0, |packets| packets.drop_of_most())
    }

    /// Gives back the room of what no longer waits.
    pub(super) fn rest(&mut self) {
        if self.cost() == 0 {
            self.packets = None;
        }
    }
}

/// What a delivery counts in the window, to be given back when it is written.
impl<P: Queued, F: Control> Delivery<P, F> {
    /// What to report as written once this is.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Control(frame) => frame.cost(),
            Self::Packet(packet) => packet.cost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const AGE: Duration = Duration::from_millis(200);

    fn packet(from: u16, len: usize, at: Instant) -> Packet {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&from.to_le_bytes());
        Packet { from: key.into(), segment: 1000, payload: Bytes::from(vec![0; len]), at }
    }

    fn senders(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop())
            .map(|delivery| match delivery {
                Delivery::Control(_) => 0,
                Delivery::Packet(packet) => packet.from.as_bytes()[0],
            })
            .collect()
    }

    #[test]
    fn ten_to_one_have_equal_parts_of_a_slow_receiver() {
        let start = Instant::now();
        let mut queue: Queue = Queue::new();
        let mut got = [0_usize; 2];
        let mut dropped = 0;
        // The receiver takes 10 packets a millisecond; the two send 100 and 10.
        for millisecond in 0..20_000 {
            let now = start + Duration::from_millis(millisecond);
            for sent in 0..110 {
                let from = u16::from(sent % 11 == 10);
                dropped += queue.push(packet(from, 1000, now), 512 << 10);
            }
            queue.drop_old(AGE, now);
            for _ in 0..10 {
                if let Some(Delivery::Packet(packet)) = queue.pop() {
                    got[usize::from(packet.from.as_bytes()[0])] += 1;
                    queue.written(packet.cost());
                }
            }
        }
        assert!(dropped > 0);
        for had in got {
            assert!(had.abs_diff(100_000) <= 5_000, "{got:?}");
        }
    }

    #[test]
    fn control_goes_first() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        queue.push(packet(1, 1000, now), usize::MAX);
        assert!(queue.push_control(RelayFrame::Ping(1)));
        assert_eq!(senders(&mut queue), [0, 1]);
    }

    #[test]
    fn only_who_has_room_and_nothing_waiting_is_passed_to() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        let passed = (0..1000).take_while(|_| queue.pass(packet(1, 1, now)).is_ok()).count();
        // A byte is not cheap: its place is paid for.
        assert_eq!(passed, WINDOW.div_ceil(PACKET_COST + 1));
        queue.push(packet(2, 1, now), usize::MAX);
        queue.written(WINDOW);
        assert!(queue.pass(packet(1, 1, now)).is_err(), "it would overtake");
        assert_eq!(senders(&mut queue), [2]);
        assert!(queue.push_control(RelayFrame::Ping(1)));
        assert!(queue.pass(packet(1, 1, now)).is_err(), "it would overtake");
        assert_eq!(senders(&mut queue), [0]);
        assert!(queue.pass(packet(1, 1, now)).is_ok());
    }

    #[test]
    fn the_window_stops_and_writing_opens_it() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        let cost = packet(1, 1000, now).cost();
        for _ in 0..100 {
            queue.push(packet(1, 1000, now), usize::MAX);
        }
        assert_eq!(senders(&mut queue).len(), WINDOW.div_ceil(cost));
        queue.written(10 * cost);
        assert_eq!(senders(&mut queue).len(), 10);
    }

    #[test]
    fn one_who_sends_much_does_not_crowd_out_one_who_sends_little() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        let cost = packet(1, 1000, now).cost();
        for _ in 0..400 {
            queue.push(packet(1, 1000, now), 200 * cost);
        }
        let mut dropped = 0;
        for _ in 0..10 {
            dropped += queue.push(packet(2, 1000, now), 200 * cost);
        }
        assert_eq!((queue.cost(), dropped), (200 * cost, 10));
        let mut sent = Vec::new();
        while queue.cost() > 0 {
            sent.extend(senders(&mut queue));
            queue.written(WINDOW + cost);
        }
        let of = |sender| sent.iter().filter(|&&from| from == sender).count();
        assert_eq!((of(1), of(2)), (190, 10));
        let last = sent.iter().rposition(|&from| from == 2).unwrap();
        assert!(last < 80, "the few should not wait for the many: {last}");
    }

    #[test]
    fn the_old_are_dropped_from_wherever_they_wait() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        queue.push(packet(1, 3000, now), usize::MAX);
        queue.push(packet(2, 2000, now), usize::MAX);
        queue.push(packet(1, 1000, now + AGE), usize::MAX);
        assert_eq!(queue.drop_old(AGE, now + AGE), 5);
        assert_eq!(queue.oldest(), Some(now + AGE));
        assert_eq!(queue.pop(), Some(Delivery::Packet(packet(1, 1000, now + AGE))));
        assert_eq!((queue.cost(), queue.oldest(), queue.pop()), (0, None, None));
    }

    #[test]
    fn one_who_does_not_read_is_known() {
        let mut queue = <Queue>::new();
        let taken = (0..1000).take_while(|n| queue.push_control(RelayFrame::Ping(*n))).count();
        assert_eq!(taken, CONTROL_LIMIT);
    }

    #[test]
    fn ten_thousand_senders_cost_no_more_than_the_height_of_a_heap() {
        const SENDERS: u16 = 10_000;
        let now = Instant::now();
        let mut turns = Turns::default();
        for from in 0..SENDERS {
            turns.push(packet(from, 1 + usize::from(from) % 1400, now));
        }
        let before = turns.moves();
        // The queue is full: for each that comes one goes, and one in four is handed over.
        for n in 0..u32::from(SENDERS) {
            let from = u16::try_from(n * 7919 % u32::from(SENDERS)).unwrap();
            turns.push(packet(from, 700, now));
            assert!(turns.drop_of_most() > 0);
            if n % 4 == 0 {
                assert!(turns.pop().is_some());
            }
        }
        let height = usize::try_from(SENDERS.ilog2()).unwrap() + 1;
        let most = 3 * height * usize::from(SENDERS);
        assert!(turns.moves() - before <= most, "{} moves", turns.moves() - before);
    }

    #[test]
    fn what_waits_costs_what_holds_it() {
        use crate::core::mesh::Transit;
        // A table that has just been doubled has as many empty places.
        let place = 2 * (crate::core::turns::place::<Transit>() + 8);
        assert!(place <= PACKET_COST, "{place} bytes for each");
        let payload = Bytes::copy_from_slice(&[7]);
        assert_eq!(payload.try_into_mut().unwrap().capacity(), 1);
    }
}
