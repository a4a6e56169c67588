//! Packets that came before the news of their sender: they come by datagrams, which overtake the stream of
//! news when that has lost something or is read later. They wait for it, a moment.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Transit;
use crate::core::queue::Queued as _;

/// How long news may be behind: a round trip between relays, and another for what was lost.
const BEHIND: Duration = Duration::from_millis(500);
/// What may wait, in bytes.
const ROOM: usize = 256 << 10;

/// What waits on one link, the oldest first.
#[derive(Default)]
pub(in crate::core) struct Early {
    waiting: VecDeque<Transit>,
    bytes: usize,
}

impl Early {
    /// Keeps packets; false if there is no room for them.
    pub(in crate::core) fn keep(&mut self, transit: Transit) -> bool {
        let bytes = self.bytes + transit.cost();
        let fits = bytes <= ROOM;
        if fits {
            self.bytes = bytes;
            self.waiting.push_back(transit);
        }
        fits
    }

    /// Gives those whose sender is known by now, in the order in which they came.
    pub(in crate::core) fn take(&mut self, known: impl Fn(&Transit) -> bool) -> Vec<Transit> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (taken, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(known);
        self.waiting = rest.into();
        self.bytes -= taken.iter().map(Transit::cost).sum::<usize>();
        taken
    }

    /// Lets go of those for which no news came; gives how many datagrams they were.
    pub(in crate::core) fn drop_old(&mut self, now: Instant) -> usize {
        let mut dropped = 0;
        while let Some(first) = self.waiting.front()
            && now.saturating_duration_since(first.at()) >= BEHIND
        {
            self.bytes -= first.cost();
            dropped += first.datagrams();
            self.waiting.pop_front();
        }
        dropped
    }

    /// How many datagrams wait.
    pub(in crate::core) fn count(&self) -> usize {
        self.waiting.iter().map(Transit::datagrams).sum()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::key::PublicKey;
    use proto::ticket::NetworkId;

    use super::*;
    use crate::core::Packet;

    fn transit(from: u8, len: usize, at: Instant) -> Transit {
        let packet = Packet {
            from: PublicKey::from([from; 32]),
            segment: 100,
            payload: Bytes::from(vec![from; len]),
            at,
        };
        Transit { network: NetworkId([1; 16]), to: PublicKey::from([9; 32]), packet }
    }

    #[test]
    fn those_of_a_sender_leave_in_their_order_and_others_stay_their_time() {
        let start = Instant::now();
        let mut early = Early::default();
        for (from, len) in [(1, 100), (2, 200), (1, 50), (2, 100)] {
            assert!(early.keep(transit(from, len, start)));
        }
        let taken = early.take(|transit| transit.packet.from == PublicKey::from([1; 32]));
        assert_eq!(taken.iter().map(|one| one.packet.payload.len()).collect::<Vec<_>>(), [100, 50]);
        assert_eq!(early.drop_old(start + BEHIND - Duration::from_millis(1)), 0);
        assert_eq!((early.count(), early.drop_old(start + BEHIND)), (3, 3));
        assert_eq!((early.count(), early.bytes), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded_whatever_its_length() {
        for len in [1, 1400, 60_000] {
            let start = Instant::now();
            let mut early = Early::default();
            let kept = (0..10_000).filter(|_| early.keep(transit(1, len, start))).count();
            let each = transit(1, len, start).cost();
            assert!(kept * each <= ROOM && (kept + 1) * each > ROOM);
            assert!(!early.keep(transit(2, 60_000, start)));
        }
    }
}
