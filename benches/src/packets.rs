//! Packets as a host makes them.

use engine::PADDING;
use engine::offload::{Gso, VnetHeader};

/// The longest IPv4 packet, which the host calls 64 KiB.
const SUPER_PACKET: usize = 65_535;
/// What a tunnel of the usual MTU takes.
const MTU: usize = 1420;
const IP_HEADER: usize = 20;

/// A transport protocol over IPv4.
#[derive(Clone, Copy)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn header_len(self) -> usize {
        match self {
            Self::Tcp => IP_HEADER + 20,
            Self::Udp => IP_HEADER + 8,
        }
    }

    /// A packet of `len` bytes whose payload begins at this place in the stream.
    fn packet(self, len: usize, sequence: usize) -> Vec<u8> {
        let mut packet = vec![0x5a; len];
        packet[..self.header_len()].fill(0);
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&be16(len));
        packet[8] = 64;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        match self {
            Self::Tcp => {
                packet[9] = 6;
                let sequence = u32::try_from(sequence).expect("a short stream");
                packet[24..28].copy_from_slice(&sequence.to_be_bytes());
                // No options; ACK and nothing else.
                packet[32..34].copy_from_slice(&[0x50, 0x10]);
            }
            Self::Udp => {
                packet[9] = 17;
                packet[24..26].copy_from_slice(&be16(len - IP_HEADER));
            }
        }
        packet
    }
}

/// Consecutive TCP segments of one flow, each this long with its headers.
pub(crate) fn stream(count: usize, len: usize) -> Vec<Vec<u8>> {
    let payload = len - Transport::Tcp.header_len();
    (0..count).map(|number| Transport::Tcp.packet(len, number * payload)).collect()
}

/// A packet with room for padding behind it.
pub(crate) fn padded(len: usize) -> Vec<u8> {
    let mut buffer = Transport::Tcp.packet(len, 0);
    buffer.resize(len + PADDING, 0);
    buffer
}

/// A super-packet, which cutting spoils, and what the host says of it.
pub(crate) struct SuperPacket {
    pub(crate) vnet: VnetHeader,
    pub(crate) buffer: Vec<u8>,
    pub(crate) len: usize,
    /// How many packets are cut from it.
    pub(crate) packets: usize,
    fresh: Vec<u8>,
}

impl SuperPacket {
    pub(crate) fn new(transport: Transport) -> Self {
        let header_len = transport.header_len();
        let segment = MTU - header_len;
        let (gso, checksum_offset) = match transport {
            Transport::Tcp => (Gso::Tcp4, 16),
            Transport::Udp => (Gso::Udp, 6),
        };
        let short = |value: usize| u16::try_from(value).expect("a length");
        let vnet = VnetHeader {
            gso: Some(gso),
            needs_checksum: true,
            header_len: short(header_len),
            segment: short(segment),
            checksum_start: short(IP_HEADER),
            checksum_offset,
        };
        let fresh = transport.packet(SUPER_PACKET, 0);
        let mut buffer = fresh.clone();
        buffer.resize(SUPER_PACKET + PADDING, 0);
        let packets = (SUPER_PACKET - header_len).div_ceil(segment);
        Self { vnet, buffer, len: SUPER_PACKET, packets, fresh }
    }

    /// Undoes what cutting did.
    pub(crate) fn refresh(&mut self) {
        self.buffer[..self.len].copy_from_slice(&self.fresh);
    }
}

fn be16(value: usize) -> [u8; 2] {
    u16::try_from(value).expect("a length").to_be_bytes()
}
