//! Datagrams that wait, for the length of one receive, for others: a segmented send to one destination
//! costs little more than a single one, and one call sends to many destinations.

use std::net::{IpAddr, SocketAddr};

use quinn_udp::EcnCodepoint;

use crate::server::udp::{Departure, RECEIVE_BATCH};

/// Destinations that are waited for at one time: as many as one receive may bring.
const DESTINATIONS: usize = RECEIVE_BATCH;
/// Segments of one send: what every kernel with segmentation takes.
const SEGMENTS: usize = 64;
/// Bytes of one send: an IP packet's length, less its headers.
const BYTES: usize = 65_000;
/// The largest room that is kept.
const ROOM: usize = 16 << 10;

/// What waits.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Vec<Waiting>,
    /// Room of what has left, for what comes.
    rooms: Vec<Vec<u8>>,
}

/// Datagrams of one length for one destination; only the last may be shorter.
pub(super) struct Waiting {
    to: SocketAddr,
    via: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
    segment: usize,
    bytes: Vec<u8>,
}

impl Waiting {
    fn new(departure: &Departure<'_>, mut room: Vec<u8>) -> Self {
        let Departure { to, via, ecn, segment, bytes } = *departure;
        room.extend_from_slice(bytes);
        Self { to, via, ecn, segment: segment.min(bytes.len()), bytes: room }
    }

    pub(super) fn departure(&self) -> Departure<'_> {
        let Self { to, via, ecn, segment, ref bytes } = *self;
        Departure { to, via, ecn, segment, bytes }
    }

    /// Whether these can follow in the same send.
    fn takes(&self, next: &Departure<'_>) -> bool {
        let len = self.bytes.len() + next.bytes.len();
        self.via == next.via
            && self.ecn == next.ecn
            && self.bytes.len().is_multiple_of(self.segment)
            && (next.segment == self.segment || next.bytes.len() < self.segment.min(next.segment))
            && len <= BYTES
            && len.div_ceil(self.segment) <= SEGMENTS
    }
}

impl Outbox {
    /// Keeps datagrams, but for many at once, which the caller sends; gives what must leave before.
    pub(super) fn add(&mut self, next: &Departure<'_>) -> Option<Waiting> {
        let waiting = &mut self.waiting;
        let found = waiting.iter().position(|waiting| waiting.to == next.to);
        match found {
            Some(at) if !next.is_many() && waiting[at].takes(next) => {
                waiting[at].bytes.extend_from_slice(next.bytes);
                None
            }
            Some(at) if next.is_many() => Some(waiting.swap_remove(at)),
            Some(at) => {
                let new = Waiting::new(next, self.rooms.pop().unwrap_or_default());
                Some(std::mem::replace(&mut waiting[at], new))
            }
            None if next.is_many() => None,
            None => {
                let first = (waiting.len() >= DESTINATIONS).then(|| waiting.swap_remove(0));
                waiting.push(Waiting::new(next, self.rooms.pop().unwrap_or_default()));
                first
            }
        }
    }

    /// All that waits.
    pub(super) fn take(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// Gives back what has left, for its room.
    pub(super) fn give_back(&mut self, mut left: Vec<Waiting>) {
        for Waiting { mut bytes, .. } in left.drain(..) {
            if self.rooms.len() < DESTINATIONS && bytes.capacity() <= ROOM {
                bytes.clear();
                self.rooms.push(bytes);
            }
        }
        if self.waiting.is_empty() {
            self.waiting = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Datagrams as they leave, for each destination.
    fn sent(outbox: &mut Outbox, departures: &[(u16, usize, Vec<u8>)]) -> Vec<Vec<Vec<u8>>> {
        let mut sent = vec![Vec::new(); 40];
        let mut send = |departure: &Departure<'_>| {
            assert!(departure.bytes.len().div_ceil(departure.segment) <= SEGMENTS);
            let datagrams = departure.bytes.chunks(departure.segment).map(<[u8]>::to_vec);
            sent[usize::from(departure.to.port())].extend(datagrams);
        };
        for (port, segment, bytes) in departures {
            let to = ([192, 0, 2, 1], *port).into();
            let next = Departure { to, via: None, ecn: None, segment: *segment, bytes };
            if let Some(waiting) = outbox.add(&next) {
                send(&waiting.departure());
            }
            if next.is_many() {
                send(&next);
            }
        }
        outbox.take().iter().for_each(|waiting| send(&waiting.departure()));
        sent
    }

    proptest! {
        #[test]
        fn every_datagram_leaves_once_whole_and_in_order(
            departures in proptest::collection::vec((0..40_u16, 1..4_usize, 1..60_usize), 0..200),
        ) {
            let departures: Vec<_> = departures
                .into_iter()
                .enumerate()
                .map(|(n, (port, size, len))| {
                    let byte = u8::try_from(n % 256).unwrap();
                    (port, size * 5, vec![byte; len])
                })
                .collect();
            let mut wanted = vec![Vec::new(); 40];
            for (port, segment, bytes) in &departures {
                wanted[usize::from(*port)].extend(bytes.chunks(*segment).map(<[u8]>::to_vec));
            }
            prop_assert_eq!(sent(&mut Outbox::default(), &departures), wanted);
        }
    }

    #[test]
    fn datagrams_of_one_length_leave_together() {
        let mut outbox = Outbox::default();
        let one = vec![7; 100];
        let to = ([192, 0, 2, 1], 9).into();
        let next = Departure { to, via: None, ecn: None, segment: 100, bytes: &one };
        for _ in 0..SEGMENTS {
            assert!(outbox.add(&next).is_none());
        }
        assert!(outbox.add(&next).is_some_and(|full| full.bytes.len() == 6400));
        assert_eq!(outbox.take().len(), 1);
    }
}
