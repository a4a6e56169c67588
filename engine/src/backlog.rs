//! Queues that do not get empty, and how TCP is told to fill them less (after CoDel, RFC 8289).
//!
//! Neither the interface's queue nor the socket's tells how long a packet has waited in it. It does
//! tell when it is empty; one that has not been for a while holds a standing queue, which only
//! adds to everybody's round trip. Then one TCP segment is marked as having met congestion, or is
//! lost if its transport does not know marks, and again ever sooner until the queue gets empty.
//! What does not slow down by it, such as UDP, is left alone.

use std::time::Duration;

use dataplane_common::{DropReason, protocol};

use crate::ecn::{Ecn, mark};
use crate::time::Timestamp;

/// A queue may go on for so long without getting empty: bursts do.
const TARGET: Duration = Duration::from_millis(2);
/// From one signal to the next, at first: TCP needs a round trip to hear of it.
const INTERVAL: Duration = Duration::from_millis(20);
/// Signals are closer again at once if the queue stands again within so many intervals.
const MEMORY: u32 = 8;

/// A queue that we read from.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// When it was last seen empty.
    empty: Timestamp,
    /// When the next signal is due, should it stand on.
    next: Timestamp,
    /// Signals of this spell so far.
    count: u32,
    /// A signal waits for a TCP segment to carry it.
    due: bool,
}

impl Backlog {
    /// Notes whether all was read that there was.
    pub(crate) fn note(&mut self, drained: bool, now: Timestamp) {
        if drained {
            self.empty = now;
            self.due = false;
            if now - self.next > INTERVAL * MEMORY {
                self.count = 0;
            }
        } else if now - self.empty > TARGET && now >= self.next {
            self.due = true;
            self.count = self.count.saturating_add(1);
            self.next = now + INTERVAL.div_f64(f64::from(self.count).sqrt());
        }
    }

    /// Signals by this packet, if a signal is due and the packet is TCP's and carries data.
    pub(crate) fn signal(&mut self, packet: &mut [u8]) -> Result<(), DropReason> {
        if !self.due || !carries_tcp_data(packet) {
            return Ok(());
        }
        self.due = false;
        if Ecn::of_packet(packet) == Ecn::NotCapable {
            return Err(DropReason::Backlog);
        }
        mark(packet, Ecn::Congested);
        Ok(())
    }
}

/// Whether a whole packet is TCP's (behind no extension headers) and longer than a bare answer.
fn carries_tcp_data(packet: &[u8]) -> bool {
    const LONGEST_ANSWER: usize = 60;
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&protocol::TCP) && packet.len() > 20 + LONGEST_ANSWER,
        Some(6) => packet.get(6) == Some(&protocol::TCP) && packet.len() > 40 + LONGEST_ANSWER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_millis(1000 + ms))
    }

    fn segment(ecn: Ecn) -> Vec<u8> {
        let mut packet = vec![0; 1400];
        packet[0] = 0x45;
        packet[9] = protocol::TCP;
        mark(&mut packet, ecn);
        packet
    }

    /// What becomes of a segment in each of so many milliseconds in which the queue stands.
    fn standing(backlog: &mut Backlog, from: u64, ms: u64, ecn: Ecn) -> Vec<u64> {
        let signalled = |ms: &u64| {
            backlog.note(false, at(*ms));
            let mut packet = segment(ecn);
            backlog.signal(&mut packet).is_err() || Ecn::of_packet(&packet) == Ecn::Congested
        };
        (from..from + ms).filter(signalled).collect()
    }

    #[test]
    fn a_standing_queue_is_told_of_ever_sooner() {
        for ecn in [Ecn::NotCapable, Ecn::Capable0] {
            let mut backlog = Backlog::default();
            backlog.note(true, at(0));
            let signals = standing(&mut backlog, 1, 100, ecn);
            assert_eq!(signals[..4], [3, 23, 38, 50]);
        }
    }

    #[test]
    fn a_queue_that_gets_empty_is_never_told_of() {
        let mut backlog = Backlog::default();
        for ms in 0..1000 {
            backlog.note(ms % 3 == 0, at(ms));
            assert_eq!(backlog.signal(&mut segment(Ecn::NotCapable)), Ok(()));
        }
    }

    #[test]
    fn what_is_no_tcp_data_is_left_alone() {
        let mut backlog = Backlog::default();
        backlog.note(true, at(0));
        backlog.note(false, at(10));
        let (mut udp, mut answer) = (segment(Ecn::NotCapable), segment(Ecn::NotCapable));
        udp[9] = protocol::UDP;
        answer.truncate(60);
        assert_eq!(backlog.signal(&mut udp), Ok(()));
        assert_eq!(backlog.signal(&mut answer), Ok(()));
        assert_eq!(backlog.signal(&mut segment(Ecn::NotCapable)), Err(DropReason::Backlog));
        assert_eq!(backlog.signal(&mut segment(Ecn::NotCapable)), Ok(()), "one for one signal");
    }
}
