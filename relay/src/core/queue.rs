//! What waits for a client: frames that are no packets first, then each sender's packets in turn.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::relay::RelayFrame;

use super::output::{Delivery, Packet};

/// Bytes handed to a connection that it has not written yet: enough to keep it busy, few enough that
/// what comes later may still overtake or be dropped.
pub(super) const WINDOW: usize = 64 << 10;
/// What a connection may have written before it says so: saying it for each packet costs more than the
/// packet, and what is left of the window still keeps a connection busy.
pub const UNSAID: usize = WINDOW / 2;
/// Frames that may wait for one who does not read.
const CONTROL_LIMIT: usize = 256;
/// Bytes of a sender's packets that go before the next sender has its turn.
const TURN: usize = 64 << 10;
/// What a frame that is no packet counts in the window.
const CONTROL_COST: usize = 64;

/// What was dropped to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Packets that were too old.
    pub(super) aged: usize,
    /// Packets for which there was no room.
    pub(super) full: usize,
}

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
    senders: HashMap<PublicKey, Waiting<P>>,
    /// Who has something waiting, in the order of their turns.
    turns: VecDeque<PublicKey>,
    /// Bytes of all packets.
    bytes: usize,
    /// Bytes handed over and not written yet.
    in_flight: usize,
}

#[derive(Debug)]
struct Waiting<P> {
    packets: VecDeque<P>,
    bytes: usize,
    /// What is left of this turn.
    left: usize,
}

impl<P> Default for Waiting<P> {
    fn default() -> Self {
        Self { packets: VecDeque::new(), bytes: 0, left: 0 }
    }
}

impl<P: Queued, F: Control> Queue<P, F> {
    pub(super) fn new() -> Self {
        Self {
            control: VecDeque::new(),
            senders: HashMap::new(),
            turns: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
        }
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
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

    /// Adds packets; the oldest of whoever has most waiting go, if there is no room.
    pub(super) fn push(&mut self, packet: P, limit: usize) -> Dropped {
        let mut dropped = Dropped::default();
        let (from, len) = (packet.sender(), packet.bytes());
        self.bytes += len;
        let waiting = self.senders.entry(from).or_default();
        if waiting.packets.is_empty() {
            waiting.left = TURN;
            self.turns.push_back(from);
        }
        waiting.bytes += len;
        waiting.packets.push_back(packet);
        while self.bytes > limit {
            let largest = self.turns.iter().max_by_key(|from| self.senders[from].bytes);
            let Some(&largest) = largest else { break };
            dropped.full += self.drop_oldest(&largest);
        }
        dropped
    }

    /// What to hand over next, if the connection has room for it.
    pub(super) fn pop(
        &mut self,
        age: Duration,
        now: Instant,
        dropped: &mut Dropped,
    ) -> Option<Delivery<P, F>> {
        if self.in_flight >= WINDOW {
            return None;
        }
        if let Some(frame) = self.control.pop_front() {
            if self.control.is_empty() {
                // Seldom more than one waits, and a silent client keeps no room.
                self.control = VecDeque::new();
            }
            self.in_flight += frame.cost();
            return Some(Delivery::Control(frame));
        }
        while let Some(&from) = self.turns.front() {
            let waiting = self.senders.entry(from).or_default();
            let aged = waiting
                .packets
                .front()
                .is_some_and(|packet| now.saturating_duration_since(packet.at()) > age);
            if aged {
                dropped.aged += self.drop_oldest(&from);
                continue;
            }
            if waiting.left == 0 {
                waiting.left = TURN;
                self.turns.rotate_left(1);
                continue;
            }
            // Only what is handed over is of its turn: what is dropped has cost nobody anything.
            let packet = self.take(&from)?;
            let len = packet.bytes();
            if let Some(waiting) = self.senders.get_mut(&from) {
                waiting.left = waiting.left.saturating_sub(len);
            }
            self.in_flight += len;
            return Some(Delivery::Packet(packet));
        }
        None
    }

    /// The connection has written this much.
    pub(super) const fn written(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    fn take(&mut self, from: &PublicKey) -> Option<P> {
        let waiting = self.senders.get_mut(from)?;
        let packet = waiting.packets.pop_front()?;
        let len = packet.bytes();
        waiting.bytes -= len;
        self.bytes -= len;
        if waiting.packets.is_empty() {
            self.senders.remove(from);
            self.turns.retain(|turn| turn != from);
        }
        Some(packet)
    }

    fn drop_oldest(&mut self, from: &PublicKey) -> usize {
        self.take(from).map_or(0, |packet| packet.datagrams())
    }
}

/// What a delivery counts in the window, to be given back when it is written.
impl<P: Queued, F: Control> Delivery<P, F> {
    /// The bytes to report as written once this is.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Control(frame) => frame.cost(),
            Self::Packet(packet) => packet.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const AGE: Duration = Duration::from_millis(200);

    fn packet(from: u8, len: usize, at: Instant) -> Packet {
        let from = PublicKey::from([from; 32]);
        Packet { from, segment: 1000, payload: Bytes::from(vec![0; len]), at }
    }

    fn senders(queue: &mut Queue, now: Instant) -> Vec<u8> {
        let mut dropped = Dropped::default();
        std::iter::from_fn(|| queue.pop(AGE, now, &mut dropped))
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
        let mut dropped = Dropped::default();
        // The receiver takes 10 packets a millisecond; the two send 100 and 10.
        for millisecond in 0..20_000 {
            let now = start + Duration::from_millis(millisecond);
            for sent in 0..110 {
                let from = u8::from(sent % 11 == 10);
                dropped.full += queue.push(packet(from, 1000, now), 512 << 10).full;
            }
            for _ in 0..10 {
                if let Some(Delivery::Packet(packet)) = queue.pop(AGE, now, &mut dropped) {
                    got[usize::from(packet.from.as_bytes()[0])] += 1;
                    queue.written(1000);
                }
            }
        }
        assert!(dropped.full > 0);
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
        assert_eq!(senders(&mut queue, now), [0, 1]);
    }

    #[test]
    fn the_window_stops_and_writing_opens_it() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        for _ in 0..100 {
            queue.push(packet(1, 1000, now), usize::MAX);
        }
        assert_eq!(senders(&mut queue, now).len(), WINDOW.div_ceil(1000));
        queue.written(10_000);
        assert_eq!(senders(&mut queue, now).len(), 10);
    }

    #[test]
    fn one_who_sends_much_does_not_crowd_out_one_who_sends_little() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        for _ in 0..400 {
            queue.push(packet(1, 1000, now), 200_000);
        }
        let mut dropped = 0;
        for _ in 0..10 {
            dropped += queue.push(packet(2, 1000, now), 200_000).full;
        }
        assert_eq!((queue.bytes(), dropped), (200_000, 10));
        let mut sent = Vec::new();
        for _ in 0..4 {
            sent.extend(senders(&mut queue, now));
            queue.written(WINDOW + 1000);
        }
        let of = |sender| sent.iter().filter(|&&from| from == sender).count();
        assert_eq!((of(1), of(2)), (190, 10));
        let last = sent.iter().rposition(|&from| from == 2).unwrap();
        assert!(last < 80, "the few should not wait for the many: {last}");
    }

    #[test]
    fn the_old_are_dropped_at_the_head() {
        let now = Instant::now();
        let mut queue = <Queue>::new();
        queue.push(packet(1, 3000, now), usize::MAX);
        queue.push(packet(1, 1000, now + AGE), usize::MAX);
        let (mut dropped, late) = (Dropped::default(), now + AGE + Duration::from_millis(1));
        let delivery = queue.pop(AGE, late, &mut dropped);
        assert_eq!(delivery, Some(Delivery::Packet(packet(1, 1000, now + AGE))));
        assert_eq!((dropped.aged, queue.bytes()), (3, 0));
    }

    #[test]
    fn one_who_does_not_read_is_known() {
        let mut queue = <Queue>::new();
        let taken = (0..1000).take_while(|n| queue.push_control(RelayFrame::Ping(*n))).count();
        assert_eq!(taken, CONTROL_LIMIT);
    }
}
