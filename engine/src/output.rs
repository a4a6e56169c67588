//! What an engine wants done: datagrams to send and packets for the host.
//!
//! Both are written straight into buffers that live as long as the shell and are reused, so that
//! a packet costs no allocation.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::ecn::Ecn;
use crate::handover::Handover;
use crate::packets::Packets;

/// The most datagrams that one segmented send takes (`UDP_MAX_SEGMENTS` of older kernels).
const BATCH_DATAGRAMS: usize = 64;
/// The most bytes that one segmented send takes: an IP packet's length less its headers.
const BATCH_BYTES: usize = 65_535 - 48;

/// Where a peer is, and which of our own addresses it knows us by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's address and port.
    pub address: SocketAddr,
    /// The address of ours at which it last reached us; the kernel chooses if there is none.
    pub source: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, source: None }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Output {
    /// Datagrams for the network.
    pub transmits: Transmits,
    /// Packets for the host.
    pub packets: Packets,
    /// What belongs to other shards; the shell takes it out.
    pub handovers: Vec<Handover>,
}

/// Datagrams for the network, in the order in which they are to leave.
#[derive(Debug, Default)]
pub struct Transmits {
    bytes: Vec<u8>,
    used: usize,
    batches: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    to: Endpoint,
    ecn: Ecn,
    range: Range<usize>,
    segment: usize,
    datagrams: usize,
}

/// Datagrams that can leave by one segmented send: one destination and mark, all of one length but
/// for the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Where to.
    pub to: Endpoint,
    /// How the datagrams are to be marked.
    pub ecn: Ecn,
    /// The datagrams, end to end.
    pub bytes: &'a [u8],
    /// The length of each datagram but the last.
    pub segment: usize,
}

impl<'a> Batch<'a> {
    /// The single datagrams.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.segment)
    }
}

impl Transmits {
    /// The batches, in order.
    pub fn iter(&self) -> impl Iterator<Item = Batch<'_>> {
        self.batches.iter().map(|batch| Batch {
            to: batch.to,
            ecn: batch.ecn,
            bytes: &self.bytes[batch.range.clone()],
            segment: batch.segment,
        })
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Forgets the first batches, which were sent.
    pub fn forget(&mut self, batches: usize) {
        self.batches.drain(..batches.min(self.batches.len()));
    }

    /// Forgets what waits beyond so many bytes; gives how many datagrams these were.
    pub fn truncate(&mut self, bytes: usize) -> u64 {
        let start = self.batches.first().map_or(self.used, |first| first.range.start);
        let kept = self.batches.partition_point(|batch| batch.range.end - start <= bytes);
        let dropped = self.batches.drain(kept..).map(|batch| batch.datagrams as u64).sum();
        // What is gone from the front is given back too.
        let end = self.batches.last().map_or(start, |last| last.range.end);
        self.bytes.copy_within(start..end, 0);
        self.used = end - start;
        for batch in &mut self.batches {
            batch.range = batch.range.start - start..batch.range.end - start;
        }
        dropped
    }

    /// Forgets what was sent; keeps the buffers.
    pub fn clear(&mut self) {
        self.used = 0;
        self.batches.clear();
    }

    /// Room for one datagram of at most `len` bytes; [`Self::commit`] makes it one.
    pub(crate) fn slot(&mut self, len: usize) -> &mut [u8] {
        slot(&mut self.bytes, self.used, len)
    }

    /// Takes the first `len` bytes of the last slot for a datagram.
    pub(crate) fn commit(&mut self, to: Endpoint, ecn: Ecn, len: usize) {
        let start = self.used;
        self.used += len;
        if let Some(last) = self.batches.last_mut()
            && last.takes(to, ecn, len)
        {
            last.range.end = self.used;
            last.datagrams += 1;
            return;
        }
        let range = start..self.used;
        self.batches.push(Pending { to, ecn, range, segment: len, datagrams: 1 });
    }
}

impl Pending {
    fn takes(&self, to: Endpoint, ecn: Ecn, len: usize) -> bool {
        let whole = self.range.len() == self.segment * self.datagrams;
        whole
            && len <= self.segment
            && self.datagrams < BATCH_DATAGRAMS
            && self.range.len() + len <= BATCH_BYTES
            && self.ecn == ecn
            && self.to == to
    }
}

/// `len` bytes at `used`. The buffer grows to its working size once and then stays.
pub(crate) fn slot(bytes: &mut Vec<u8>, used: usize, len: usize) -> &mut [u8] {
    let end = used + len;
    if bytes.len() < end {
        bytes.resize(end.next_power_of_two(), 0);
    }
    &mut bytes[used..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(transmits: &mut Transmits, to: u16, len: usize) {
        transmits.slot(len).fill(u8::try_from(len % 251).unwrap());
        let to = SocketAddr::from(([127, 0, 0, 1], to)).into();
        transmits.commit(to, Ecn::NotCapable, len);
    }

    fn batches(transmits: &Transmits) -> Vec<(u16, usize, usize)> {
        let describe =
            |batch: Batch<'_>| (batch.to.address.port(), batch.segment, batch.datagrams().count());
        transmits.iter().map(describe).collect()
    }

    #[test]
    fn equal_datagrams_to_one_endpoint_share_a_batch_and_a_shorter_one_ends_it() {
        let mut transmits = Transmits::default();
        for len in [100, 100, 60, 100] {
            send(&mut transmits, 1, len);
        }
        send(&mut transmits, 2, 100);
        send(&mut transmits, 2, 101);
        assert_eq!(batches(&transmits), [(1, 100, 3), (1, 100, 1), (2, 100, 1), (2, 101, 1)]);
    }

    #[test]
    fn what_cannot_be_sent_yet_waits_within_bounds() {
        let mut transmits = Transmits::default();
        for to in 0..4 {
            send(&mut transmits, to, 100 + usize::from(to));
            send(&mut transmits, to, 100 + usize::from(to));
        }
        transmits.forget(1);
        assert_eq!(transmits.truncate(500), 2, "the last batch goes");
        assert_eq!(batches(&transmits), [(1, 101, 2), (2, 102, 2)]);
        assert!(
            transmits
                .iter()
                .all(|batch| batch.bytes.iter().all(|&b| usize::from(b) == batch.segment))
        );
        send(&mut transmits, 2, 102);
        assert_eq!(batches(&transmits), [(1, 101, 2), (2, 102, 3)]);
        assert_eq!(transmits.len(), 508);
        transmits.forget(2);
        assert_eq!((transmits.truncate(500), transmits.len()), (0, 0));
    }

    #[test]
    fn a_batch_is_bounded_in_datagrams_and_bytes() {
        let mut transmits = Transmits::default();
        for _ in 0..65 {
            send(&mut transmits, 1, 40);
        }
        for _ in 0..50 {
            send(&mut transmits, 2, 1452);
        }
        assert_eq!(batches(&transmits), [(1, 40, 64), (1, 40, 1), (2, 1452, 45), (2, 1452, 5)]);
    }
}
