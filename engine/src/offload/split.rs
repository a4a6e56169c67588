//! One super-packet cut into packets, in place.
//!
//! The headers of each packet are written over the end of the payload before it, which has been
//! sealed by then: the payload itself is never copied here.

use super::checksum;
use super::vnet::{Gso, VnetHeader};
use crate::ip::PADDING;

/// The longest headers that are cut: IPv6, some extension headers, TCP with all its options.
const HEADER_LIMIT: usize = 256;
const IPV6_HEADER: usize = 40;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// How to cut a super-packet.
pub(crate) struct Cut {
    header: [u8; HEADER_LIMIT],
    header_len: usize,
    /// Where TCP or UDP begins.
    transport: usize,
    segment: usize,
    gso: Gso,
}

/// Completes the checksum of a packet that is no super-packet; `None` if the header lies.
pub(crate) fn complete_checksum(header: &VnetHeader, packet: &mut [u8]) -> Option<()> {
    let start = usize::from(header.checksum_start);
    let at = start.checked_add(header.checksum_offset.into())?;
    let sum = checksum::add(0, packet.get(start..)?);
    let field = packet.get_mut(at..at.checked_add(2)?)?;
    field.copy_from_slice(&nonzero(checksum::finish(sum)));
    Some(())
}

impl Cut {
    /// Looks at a super-packet; `None` if it is not what its header says.
    pub(crate) fn new(vnet: &VnetHeader, gso: Gso, packet: &[u8]) -> Option<Self> {
        let transport = usize::from(vnet.checksum_start);
        let version = packet.first()? >> 4;
        let (addresses, family) = match version {
            4 => (usize::from(packet.first()? & 15) * 4, gso != Gso::Tcp6),
            6 => (IPV6_HEADER, gso != Gso::Tcp4),
            _ => return None,
        };
        let transport_len = match gso {
            Gso::Tcp4 | Gso::Tcp6 => usize::from(packet.get(transport + 12)? >> 4) * 4,
            Gso::Udp => 8,
        };
        let shortest = if gso == Gso::Udp { 8 } else { 20 };
        let header_len = transport + transport_len;
        let fits = family
            && addresses >= 20
            && transport >= addresses
            && transport_len >= shortest
            && usize::from(vnet.checksum_offset) == gso.checksum_offset()
            && vnet.segment > 0
            && header_len <= HEADER_LIMIT
            && header_len < packet.len();
        if !fits {
            return None;
        }
        let mut header = [0; HEADER_LIMIT];
        header[..header_len].copy_from_slice(&packet[..header_len]);
        Some(Self { header, header_len, transport, segment: vnet.segment.into(), gso })
    }

    /// Makes the packets one after another and gives each to `take`, in a buffer that goes on
    /// behind it for padding as far as there is room. `buffer` is spoiled.
    pub(crate) fn each(
        &self,
        buffer: &mut [u8],
        len: usize,
        mut take: impl FnMut(&mut [u8], usize),
    ) {
        let mut start = self.header_len;
        let mut number = 0;
        while start < len {
            let end = len.min(start + self.segment);
            let packet_start = start - self.header_len;
            let packet = &mut buffer[packet_start..end];
            packet[..self.header_len].copy_from_slice(&self.header[..self.header_len]);
            self.adapt(packet, number, end == len);
            // Padding is written behind the packet, where the next one's payload lies.
            let room = (end + PADDING).min(buffer.len());
            let mut kept = [0; PADDING];
            kept[..room - end].copy_from_slice(&buffer[end..room]);
            take(&mut buffer[packet_start..room], end - packet_start);
            buffer[end..room].copy_from_slice(&kept[..room - end]);
            start = end;
            number += 1;
        }
    }

    /// Makes the headers true for packet `number`.
    fn adapt(&self, packet: &mut [u8], number: usize, last: bool) {
        let low = |value: usize| u16::try_from(value & 0xffff).unwrap_or_default();
        let len = packet.len();
        let addresses = if packet[0] >> 4 == 4 {
            packet[2..4].copy_from_slice(&low(len).to_be_bytes());
            let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(low(number));
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            packet[10..12].fill(0);
            let header = usize::from(packet[0] & 15) * 4;
            let sum = checksum::finish(checksum::add(0, &packet[..header]));
            packet[10..12].copy_from_slice(&sum);
            12..20
        } else {
            packet[4..6].copy_from_slice(&low(len - IPV6_HEADER).to_be_bytes());
            8..40
        };
        let (_, transport) = packet.split_at_mut(self.transport);
        match self.gso {
            Gso::Tcp4 | Gso::Tcp6 => {
                let first = transport.get(4..8).and_then(|bytes| bytes.first_chunk());
                let skipped = u32::try_from(number * self.segment).unwrap_or_default();
                let sequence = first.map_or(0, |first| u32::from_be_bytes(*first));
                transport[4..8].copy_from_slice(&sequence.wrapping_add(skipped).to_be_bytes());
                if !last {
                    transport[13] &= !FIN_AND_PSH;
                }
                if number > 0 {
                    transport[13] &= !CWR;
                }
            }
            Gso::Udp => {
                let len = low(transport.len());
                transport[4..6].copy_from_slice(&len.to_be_bytes());
            }
        }
        let (protocol, checksum_at) = (self.gso.protocol(), self.gso.checksum_offset());
        transport[checksum_at..checksum_at + 2].fill(0);
        let len = transport.len();
        let pseudo = checksum::pseudo_header(&packet[addresses], protocol, len);
        let sum = checksum::finish(checksum::add(pseudo, &packet[self.transport..]));
        let at = self.transport + checksum_at;
        packet[at..at + 2].copy_from_slice(&nonzero(sum));
    }
}

/// UDP says "no checksum" by zero; the other form of zero means the same sum (RFC 768). For TCP
/// both are right.
fn nonzero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}
