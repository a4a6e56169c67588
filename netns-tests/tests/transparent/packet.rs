//! IP packets made by hand, with right checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netns_tests::Family;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The header of a packet to be made; name what differs from [`Header::to`].
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// The protocol behind all headers of IP.
    pub(crate) protocol: u8,
    /// Traffic class, ECN included.
    pub(crate) class: u8,
    /// Time to live, or hop limit.
    pub(crate) hops: u8,
    /// IPv4: the identification.
    pub(crate) id: u16,
    /// IPv4: flags and fragment offset as they stand in the header.
    pub(crate) fragment: u16,
    /// IPv4: options, a multiple of four bytes. IPv6: the extension headers, the first of which is
    /// of the type that goes with them, and the last of which names the protocol.
    pub(crate) options: Vec<u8>,
    /// IPv6: the type of the first extension header.
    pub(crate) extension: u8,
}

impl Header {
    /// A plain header from the client of the tunnel.
    pub(crate) fn to(destination: &str, protocol: u8) -> Self {
        let destination: IpAddr = destination.parse().expect("an address");
        let source = match destination {
            IpAddr::V4(_) => Ipv4Addr::new(10, 9, 0, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1).into(),
        };
        Self {
            source,
            destination,
            protocol,
            class: 0,
            hops: 64,
            id: 0x1234,
            fragment: 0,
            options: Vec::new(),
            extension: 0,
        }
    }

    pub(crate) fn family(&self) -> Family {
        if self.destination.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The length of all headers of IP.
    pub(crate) fn len(&self) -> usize {
        self.options.len() + if self.destination.is_ipv4() { 20 } else { 40 }
    }

    /// The packet.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let len = |len: usize| u16::try_from(len).expect("a length of IP").to_be_bytes();
        let mut packet = Vec::new();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let words = u8::try_from(self.len() / 4).expect("room for options");
                packet.extend([0x40 | words, self.class]);
                packet.extend(len(self.len() + payload.len()));
                packet.extend(self.id.to_be_bytes());
                packet.extend(self.fragment.to_be_bytes());
                packet.extend([self.hops, self.protocol, 0, 0]);
                packet.extend(source.octets().iter().chain(&destination.octets()));
                packet.extend(&self.options);
                let sum = checksum(&packet);
                packet[10..12].copy_from_slice(&sum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // Some flow label, to be kept.
                packet.extend([0x60 | self.class >> 4, self.class << 4 | 0x0a, 0xbc, 0xde]);
                packet.extend(len(self.options.len() + payload.len()));
                let next = if self.options.is_empty() { self.protocol } else { self.extension };
                packet.extend([next, self.hops]);
                packet.extend(source.octets().iter().chain(&destination.octets()));
                packet.extend(&self.options);
            }
            mixed => panic!("one family: {mixed:?}"),
        }
        packet.extend(payload);
        packet
    }

    /// A UDP packet.
    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + payload.len()).expect("a length of UDP").to_be_bytes();
        let datagram = [&PORTS[..], &len, &[0, 0], payload].concat();
        self.with_checksum(&datagram, 6)
    }

    /// A TCP packet with timestamps.
    pub(crate) fn tcp(&self, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = PORTS.to_vec();
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 9, 0x80, flags, 0x12, 0x34, 0, 0, 0, 0]);
        segment.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        segment.extend(payload);
        self.with_checksum(&segment, 16)
    }

    fn with_checksum(&self, transport: &[u8], at: usize) -> Vec<u8> {
        let mut transport = transport.to_vec();
        let sum = checksum(&[&self.pseudo_header(transport.len()), &transport[..]].concat());
        transport[at..at + 2].copy_from_slice(&sum);
        self.packet(&transport)
    }

    /// What the checksum of TCP or UDP covers beside itself.
    pub(crate) fn pseudo_header(&self, len: usize) -> Vec<u8> {
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
            (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
            mixed => panic!("one family: {mixed:?}"),
        };
        bytes.extend(u32::try_from(len).expect("a length").to_be_bytes());
        bytes.extend([0, 0, 0, self.protocol]);
        bytes
    }
}

/// The Internet checksum, word by word as RFC 1071 says it.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

/// A `struct virtio_net_hdr` that says nothing.
pub(crate) const AS_IT_IS: [u8; 10] = [0; 10];

/// Source and destination port of the packets made here.
const PORTS: [u8; 4] = [0x30, 0x39, 0x30, 0x3a];

/// Tells a packet made here from what hosts have to say to each other.
pub(crate) fn is_ours(packet: &[u8]) -> bool {
    packet.windows(4).any(|bytes| bytes == PORTS)
}

/// Bytes that are unlike at any two places near each other.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}
