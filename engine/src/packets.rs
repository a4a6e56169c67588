//! Packets for the host, in the order in which they are to be written.

use std::ops::Range;

use crate::offload::coalesce::Flow;
use crate::offload::{VNET_HEADER_LEN, VnetHeader};
use crate::output::slot;

/// What the host's interface takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostOffload {
    /// Packets, one by one, nothing before them.
    #[default]
    None,
    /// A [`VnetHeader`] before each, and super-packets of TCP.
    Tcp,
    /// Those and super-packets of UDP.
    TcpAndUdp,
}

/// Packets for the host. With offload, each begins with a [`VnetHeader`], and consecutive packets of
/// one flow are joined.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    used: usize,
    ranges: Vec<Range<usize>>,
    offload: HostOffload,
    /// How the last packet may go on; its headers are not finished yet.
    open: Option<Flow>,
}

impl Packets {
    /// Packets for an interface that takes this.
    #[must_use]
    pub fn new(offload: HostOffload) -> Self {
        Self { offload, ..Self::default() }
    }

    /// The packets, in order.
    pub fn iter(&mut self) -> impl Iterator<Item = &[u8]> {
        self.finish_last();
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Forgets what was written; keeps the buffers.
    pub fn clear(&mut self) {
        self.used = 0;
        self.ranges.clear();
        self.open = None;
    }

    /// Room for one packet of at most `len` bytes; [`Self::commit`] makes it one.
    pub(crate) fn slot(&mut self, len: usize) -> &mut [u8] {
        let room = self.room();
        &mut slot(&mut self.bytes, self.used, room + len)[room..]
    }

    /// Takes the first `len` bytes of the last slot for a packet.
    pub(crate) fn commit(&mut self, len: usize) {
        let start = self.used + self.room();
        if self.offload == HostOffload::None {
            self.ranges.push(start..start + len);
            self.used = start + len;
        } else if !self.join(start..start + len) {
            self.finish_last();
            self.open = Flow::of(&self.bytes[start..start + len]);
            self.bytes[self.used..start].copy_from_slice(&VnetHeader::default().to_bytes());
            self.ranges.push(self.used..start + len);
            self.used = start + len;
        }
    }

    /// Appends a packet's payload to the last packet, if it continues that.
    fn join(&mut self, packet: Range<usize>) -> bool {
        let (Some(flow), Some(last)) = (&mut self.open, self.ranges.last_mut()) else {
            return false;
        };
        let udp = self.offload == HostOffload::TcpAndUdp;
        let first = last.start + VNET_HEADER_LEN;
        // The last packet lies right before the slot.
        let (before, after) = self.bytes.split_at_mut(packet.start);
        let (before, after) = (&mut before[first..last.end], &after[..packet.len()]);
        let Some(payload) = flow.joins(before, after, udp) else { return false };
        flow.take_push(before, after);
        let from = packet.start + payload.start;
        self.bytes.copy_within(from..from + payload.len(), last.end);
        last.end += payload.len();
        self.used = last.end;
        true
    }

    fn finish_last(&mut self) {
        if let (Some(flow), Some(last)) = (self.open.take(), self.ranges.last()) {
            let (vnet, packet) = self.bytes[last.clone()].split_at_mut(VNET_HEADER_LEN);
            vnet.copy_from_slice(&flow.finish(packet).to_bytes());
        }
    }

    fn room(&self) -> usize {
        if self.offload == HostOffload::None { 0 } else { VNET_HEADER_LEN }
    }
}
