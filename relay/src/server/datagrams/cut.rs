//! Packets are cut into datagrams, as many in each as fit, while there is room for those.
//!
//! Packets that find no room wait here, and the frames behind them do not. What a connection has taken
//! cannot be dropped nor overtaken any more, so it is to have little room.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf as _, Bytes};
use proto::relay::Batch;

use crate::core::{Packet, Queued};

/// Room for packets that a silent connection keeps.
const KEPT: usize = 4;

/// Packets, and how they are written.
pub(in crate::server) trait Carried: Queued + Send + 'static {
    /// What comes before them, in bytes.
    const HEADER: usize;
    fn packet(&self) -> &Packet;
    fn packet_mut(&mut self) -> &mut Packet;
    /// Appends some of them as a frame.
    fn write(&self, batch: Batch<'_>, bytes: &mut Vec<u8>);
}

/// A connection's datagrams.
pub(in crate::server) trait Outlet {
    /// The longest that the path takes.
    fn longest(&mut self) -> usize;
    /// Takes one, if it has room.
    fn take(&mut self, bytes: Bytes) -> Result<(), Unsent>;
}

/// Why a datagram was not taken.
pub(in crate::server) enum Unsent {
    /// There is no room yet.
    Full(Bytes),
    /// The path has become narrower.
    TooLong,
    Over,
}

/// The connection is over.
pub(in crate::server) struct Over;

/// A datagram that found no room, and how much of the first packets it is.
pub(in crate::server) struct Waits {
    pub(super) bytes: Bytes,
    pub(super) len: usize,
}

/// What leaves as datagrams of a connection.
pub(in crate::server) struct Cut<P> {
    /// The longest datagram, as the outlet said last.
    longest: usize,
    waiting: VecDeque<P>,
    /// What does not fit datagrams of the path.
    too_long: Vec<P>,
    /// What was written, at its cost.
    written: usize,
}

impl<P: Carried> Cut<P> {
    pub(in crate::server) const fn new() -> Self {
        Self { longest: 0, waiting: VecDeque::new(), too_long: Vec::new(), written: 0 }
    }

    /// What was written since the last call.
    pub(in crate::server) const fn written(&mut self) -> usize {
        mem::replace(&mut self.written, 0)
    }

    /// What has to go by streams, since the last call.
    pub(in crate::server) fn too_long(&mut self) -> Vec<P> {
        mem::take(&mut self.too_long)
    }

    /// Gives packets, behind those that wait.
    pub(in crate::server) fn give(&mut self, packets: P) {
        self.waiting.push_back(packets);
    }

    /// Sends what has room; what has none is told, and has to be sent or given up before the next.
    pub(in crate::server) fn send(
        &mut self,
        outlet: &mut impl Outlet,
    ) -> Result<Option<Waits>, Over> {
        while let Some(mut first) = self.waiting.pop_front() {
            while let Some((bytes, len)) = self.datagram(&first, outlet) {
                match outlet.take(bytes) {
                    Ok(()) => self.count(&mut first, len),
                    Err(Unsent::Full(bytes)) => {
                        self.waiting.push_front(first);
                        return Ok(Some(Waits { bytes, len }));
                    }
                    Err(Unsent::TooLong) => {
                        self.longest = outlet.longest();
                        if self.longest >= P::HEADER + len {
                            break;
                        }
                    }
                    Err(Unsent::Over) => return Err(Over),
                }
            }
            if first.packet().payload.is_empty() {
                self.written += first.cost();
            } else {
                self.too_long.push(first);
            }
        }
        self.waiting.shrink_to(KEPT);
        Ok(None)
    }

    /// A datagram that waited has left, with so much of the first packets.
    pub(super) fn sent(&mut self, len: usize) {
        if let Some(mut first) = self.waiting.pop_front() {
            self.count(&mut first, len);
            self.waiting.push_front(first);
        }
    }

    /// The path has become narrower: what comes is cut anew.
    pub(super) const fn narrower(&mut self) {
        self.longest = 0;
    }

    /// The next datagram of packets, and how much of them it is; none if nothing is left or does not
    /// fit a datagram.
    fn datagram(&mut self, packets: &P, outlet: &mut impl Outlet) -> Option<(Bytes, usize)> {
        let packet = packets.packet();
        let segment = packet.segment.into();
        let batch = Batch::new(&packet.payload, segment)?;
        if self.longest < P::HEADER + segment {
            self.longest = outlet.longest();
        }
        let first = batch.within(self.longest.checked_sub(P::HEADER)?)?.next()?;
        let len = first.bytes().len();
        let mut bytes = Vec::with_capacity(P::HEADER + len);
        packets.write(first, &mut bytes);
        Some((bytes.into(), len))
    }

    /// So much of packets is written.
    fn count(&mut self, packets: &mut P, len: usize) {
        let packet = packets.packet_mut();
        packet.payload.advance(len);
        // The last datagram may be shorter.
        let left = u16::try_from(packet.payload.len()).unwrap_or(u16::MAX);
        packet.segment = packet.segment.min(left);
        self.written += len;
    }
}
