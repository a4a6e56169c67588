//! What leaves at the end of a round: all in as few calls as there can be.

use std::mem;
use std::time::Instant;

use quinn_proto::{Connection, Transmit};
use quinn_udp::EcnCodepoint;

use crate::server::udp::{Departure, Udp};

/// Segments of one send: a burst that a path's buffers take.
const SEGMENTS: usize = 16;
/// Datagrams of one connection in a round: then the others have their turn.
const OF_ONE: usize = 32;
/// Sends that are kept for one call.
const KEPT: usize = 64;
/// The largest room that is kept.
const ROOM: usize = 32 << 10;

/// See the module.
pub(super) struct Outgoing {
    waiting: Vec<(Transmit, Vec<u8>)>,
    /// Room of what has left, for what comes.
    rooms: Vec<Vec<u8>>,
    segments: usize,
}

impl Outgoing {
    pub(super) fn new(udp: &Udp) -> Self {
        let segments = udp.most_segments().clamp(1, SEGMENTS);
        Self { waiting: Vec::new(), rooms: Vec::new(), segments }
    }

    /// Takes what a connection has to send; true if it has more.
    pub(super) fn take(&mut self, connection: &mut Connection, now: Instant, udp: &Udp) -> bool {
        let mut datagrams = 0;
        while datagrams < OF_ONE {
            let mut room = self.room();
            let Some(transmit) = connection.poll_transmit(now, self.segments, &mut room) else {
                self.keep(room);
                return false;
            };
            datagrams += transmit.segment_size.map_or(1, |size| transmit.size.div_ceil(size));
            self.add(transmit, room, udp);
        }
        true
    }

    /// An empty room.
    pub(super) fn room(&mut self) -> Vec<u8> {
        self.rooms.pop().unwrap_or_default()
    }

    /// Takes back room in which nothing is.
    pub(super) fn keep(&mut self, mut room: Vec<u8>) {
        if self.rooms.len() < KEPT && room.capacity() <= ROOM {
            room.clear();
            self.rooms.push(room);
        }
    }

    /// Keeps what is to be sent.
    pub(super) fn add(&mut self, transmit: Transmit, bytes: Vec<u8>, udp: &Udp) {
        self.waiting.push((transmit, bytes));
        if self.waiting.len() >= KEPT {
            self.flush(udp);
        }
    }

    /// Sends all. What the kernel has no room for is lost, as it is in any full buffer of the path: QUIC
    /// sends less then.
    pub(super) fn flush(&mut self, udp: &Udp) {
        let _ = udp.send_all(self.waiting.iter().map(|(transmit, bytes)| Departure {
            to: transmit.destination,
            via: transmit.src_ip,
            ecn: transmit.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
            segment: transmit.segment_size.unwrap_or(transmit.size),
            bytes: &bytes[..transmit.size],
        }));
        let mut left = mem::take(&mut self.waiting);
        left.drain(..).for_each(|(_, room)| self.keep(room));
        self.waiting = left;
    }
}
