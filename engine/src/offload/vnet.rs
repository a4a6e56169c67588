//! The header before each packet of a TUN interface with `IFF_VNET_HDR`: Linux's
//! `struct virtio_net_hdr`, ten bytes, in the machine's byte order.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: 1 the checksum is to be completed, 2 it was verified |
//! | 1 | kind of super-packet: 0 none, 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP; 0x80 ECN |
//! | 2 | length of all headers |
//! | 2 | bytes of payload in each packet to be made |
//! | 2 | where the checksum begins to count |
//! | 2 | where after that the checksum lies |

use dataplane_common::protocol;

/// The length of the header, in bytes.
pub const VNET_HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What a super-packet is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gso {
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP datagrams over either.
    Udp,
}

/// What the host says of a packet, or is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// The packet is a super-packet of this kind.
    pub gso: Option<Gso>,
    /// Whether the checksum holds only the sum of the pseudo-header and is to be completed.
    pub needs_checksum: bool,
    /// The length of all headers of a super-packet: a hint.
    pub header_len: u16,
    /// The payload of each packet that a super-packet is to be cut into.
    pub segment: u16,
    /// Where the checksum begins to count.
    pub checksum_start: u16,
    /// Where after that the checksum lies.
    pub checksum_offset: u16,
}

impl Gso {
    /// The protocol that the IP header names (before it, perhaps, extension headers).
    pub(crate) const fn protocol(self) -> u8 {
        match self {
            Self::Tcp4 | Self::Tcp6 => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }

    /// Where in the transport header the checksum lies.
    pub(crate) const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp4 | Self::Tcp6 => 16,
            Self::Udp => 6,
        }
    }
}

impl VnetHeader {
    /// Reads a header; `None` if it names a kind of super-packet that was not asked for.
    #[must_use]
    pub fn parse(bytes: &[u8; VNET_HEADER_LEN]) -> Option<Self> {
        let [flags, gso, rest @ ..] = bytes;
        let [a, b, c, d, e, f, g, h] = *rest;
        Some(Self {
            gso: match gso & !GSO_ECN {
                GSO_NONE => None,
                GSO_TCP4 => Some(Gso::Tcp4),
                GSO_TCP6 => Some(Gso::Tcp6),
                GSO_UDP => Some(Gso::Udp),
                _ => return None,
            },
            needs_checksum: flags & NEEDS_CHECKSUM != 0,
            header_len: u16::from_ne_bytes([a, b]),
            segment: u16::from_ne_bytes([c, d]),
            checksum_start: u16::from_ne_bytes([e, f]),
            checksum_offset: u16::from_ne_bytes([g, h]),
        })
    }

    /// Writes the header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; VNET_HEADER_LEN] {
        let gso = match self.gso {
            None => GSO_NONE,
            Some(Gso::Tcp4) => GSO_TCP4,
            Some(Gso::Tcp6) => GSO_TCP6,
            Some(Gso::Udp) => GSO_UDP,
        };
        let mut bytes = [0; VNET_HEADER_LEN];
        bytes[0] = if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        bytes[1] = gso;
        let fields = [self.header_len, self.segment, self.checksum_start, self.checksum_offset];
        for (to, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}
