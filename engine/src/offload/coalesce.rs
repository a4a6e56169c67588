//! Consecutive packets of one TCP or UDP flow joined into one super-packet, as the kernel's GRO
//! joins what a network card receives.
//!
//! Inner checksums are not looked at: the packets were authenticated as a whole, as kernel
//! WireGuard says by `CHECKSUM_UNNECESSARY`. The host is told to complete them if it ever must.

use std::ops::Range;

use dataplane_common::protocol;

use super::checksum;
use super::vnet::{Gso, VnetHeader};

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// The longest super-packet: what the length fields of IP can say.
const LENGTH_LIMIT: usize = 65_535;
/// The most packets in a super-packet (`UDP_MAX_SEGMENTS` of older kernels).
const SEGMENT_LIMIT: usize = 64;

/// A TCP or UDP packet whose headers are plain enough to be joined or vouched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    gso: Gso,
    /// Where TCP or UDP begins.
    transport: usize,
    header_len: usize,
    /// The payload of the first packet: that of all but the last.
    segment: usize,
    packets: usize,
    /// The whole length so far.
    len: usize,
    /// Nothing more may follow.
    closed: bool,
}

impl Flow {
    /// Reads a packet; `None` if its headers are not plain TCP or UDP.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (transport, protocol, v4) = match packet.first()? {
            // No options, no fragment.
            0x45 if packet.get(6)? & 0x3f == 0 && *packet.get(7)? == 0 => {
                (20, *packet.get(9)?, true)
            }
            first if first >> 4 == 6 => (40, *packet.get(6)?, false),
            _ => return None,
        };
        let (gso, header_len, closed) = match protocol {
            protocol::TCP => {
                let flags = *packet.get(transport + 13)?;
                let header = usize::from(packet.get(transport + 12)? >> 4) * 4;
                let gso = if v4 { Gso::Tcp4 } else { Gso::Tcp6 };
                // Any other flag ends what was sent at once.
                (gso, transport + header.max(TCP_HEADER), flags != ACK)
            }
            protocol::UDP => {
                let len = packet.get(transport + 4..)?.first_chunk()?;
                let whole = usize::from(u16::from_be_bytes(*len)) == packet.len() - transport;
                let checksum = packet.get(transport + 6..transport + 8)?;
                // A sender that wants no checksum keeps its wish.
                if !whole || checksum == [0, 0] {
                    return None;
                }
                (Gso::Udp, transport + UDP_HEADER, false)
            }
            _ => return None,
        };
        let segment = packet.len().checked_sub(header_len)?;
        let closed = closed || segment == 0;
        Some(Self { gso, transport, header_len, segment, packets: 1, len: packet.len(), closed })
    }

    /// Whether `packet` continues what begins with `first`; if so, where its payload lies.
    pub(crate) fn joins(&mut self, first: &[u8], packet: &[u8], udp: bool) -> Option<Range<usize>> {
        if self.closed || (self.gso == Gso::Udp && !udp) {
            return None;
        }
        let next = Self::of(packet)?;
        let fits = next.gso == self.gso
            && next.header_len == self.header_len
            && next.segment > 0
            && next.segment <= self.segment
            && self.len + next.segment <= LENGTH_LIMIT
            && self.packets < SEGMENT_LIMIT
            && self.same_ip(first, packet)
            && self.continues(first, packet)?;
        if !fits {
            return None;
        }
        self.len += next.segment;
        self.packets += 1;
        self.closed = next.closed || next.segment < self.segment;
        Some(next.header_len..packet.len())
    }

    /// The same addresses, class, lifetime and options: all but length, number and checksum.
    fn same_ip(&self, first: &[u8], packet: &[u8]) -> bool {
        let same = |range: Range<usize>| first[range.clone()] == packet[range];
        match self.transport {
            20 => same(0..2) && same(6..10) && same(12..20),
            _ => same(0..4) && same(6..40),
        }
    }

    /// The same ports and, for TCP, the next byte of the stream and nothing else that is new.
    fn continues(&self, first: &[u8], packet: &[u8]) -> Option<bool> {
        let (first, packet) = (first.get(self.transport..)?, packet.get(self.transport..)?);
        if first.get(..4)? != packet.get(..4)? {
            return Some(false);
        }
        if self.gso == Gso::Udp {
            return Some(true);
        }
        let sequence = |segment: &[u8]| {
            segment
                .get(4..8)
                .and_then(|bytes| bytes.first_chunk())
                .map(|be| u32::from_be_bytes(*be))
        };
        let sent = u32::try_from(self.len - self.header_len).ok()?;
        let options = TCP_HEADER..self.header_len - self.transport;
        Some(
            sequence(packet)? == sequence(first)?.wrapping_add(sent)
                && first[8..13] == packet[8..13]
                && packet[13] & !PSH == ACK
                // Window and urgent pointer; the checksum between them differs.
                && first[14..16] == packet[14..16]
                && first[18..20] == packet[18..20]
                && first.get(options.clone())? == packet.get(options)?,
        )
    }

    /// What the last packet's flags add to the first's.
    pub(crate) fn take_push(&self, first: &mut [u8], packet: &[u8]) {
        if self.gso != Gso::Udp {
            first[self.transport + 13] |= packet[self.transport + 13] & PSH;
        }
    }

    /// Makes the headers true for all that was joined, and says so to the host.
    pub(crate) fn finish(&self, packet: &mut [u8]) -> VnetHeader {
        let transport_len = packet.len() - self.transport;
        let short = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        let addresses = if self.transport == 20 {
            let len = short(packet.len()).to_be_bytes();
            packet[2..4].copy_from_slice(&len);
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::add(0, &packet[..20]));
            packet[10..12].copy_from_slice(&sum);
            12..20
        } else {
            packet[4..6].copy_from_slice(&short(transport_len).to_be_bytes());
            8..40
        };
        if self.gso == Gso::Udp {
            let len = short(transport_len).to_be_bytes();
            packet[self.transport + 4..self.transport + 6].copy_from_slice(&len);
        }
        let (protocol, offset) = (self.gso.protocol(), self.gso.checksum_offset());
        let pseudo = checksum::pseudo_header(&packet[addresses], protocol, transport_len);
        let at = self.transport + offset;
        packet[at..at + 2].copy_from_slice(&checksum::partial(pseudo));
        let many = self.packets > 1;
        VnetHeader {
            gso: many.then_some(self.gso),
            needs_checksum: true,
            header_len: short(self.header_len),
            segment: if many { short(self.segment) } else { 0 },
            checksum_start: short(self.transport),
            checksum_offset: short(offset),
        }
    }
}
