//! An Ethernet frame, and the headers that a switch goes by.

use super::{
    Sum, V4Pair, Words,
    bytes::{number, part},
};
use crate::{PacketBytes, protocol};

/// A packet that can be changed in place.
pub trait PacketBytesMut: PacketBytes {
    /// Overwrites what is at `offset`; false if the packet ends before.
    #[must_use]
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> bool;
}

impl PacketBytesMut for [u8] {
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = self.get_mut(start..start.saturating_add(N));
        place.map(|place| place.copy_from_slice(&bytes)).is_some()
    }
}

/// A frame, which can be changed in place.
pub trait Frame: PacketBytesMut {
    /// Its bytes, all of them.
    fn length(&self) -> usize;

    /// Its first bytes, if it has so many.
    fn head<const N: usize>(&self) -> Option<&[u8; N]>;

    /// Its first bytes, if it has so many.
    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]>;

    /// Takes this many bytes off the front or, if negative, puts some there; false if there is no
    /// room for them.
    #[must_use]
    fn shorten(&mut self, by: i32) -> bool;
}

/// Where things are in a frame without a VLAN tag, IP options or extension headers.
pub(crate) mod place {
    pub(crate) const ETHER_TYPE: usize = 12;
    pub(crate) const IP: usize = 14;
    pub(crate) const UDP_V4: usize = IP + 20;
    pub(crate) const UDP_V6: usize = IP + 40;
    pub(crate) const PAYLOAD_V4: usize = UDP_V4 + 8;
    pub(crate) const PAYLOAD_V6: usize = UDP_V6 + 8;
}

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// The headers around a UDP datagram, after those of Ethernet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    /// Whether it is IPv6.
    pub(crate) v6: bool,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// Hops that it may still make.
    pub(crate) hops: u8,
    /// The addresses of IPv4.
    pub(crate) pair: V4Pair,
    /// Those of IPv6.
    words: [Words; 2],
    /// As on the wire. Apart, because they are written apart: a word that was written in halves is
    /// slow to read.
    pub(crate) source_port: [u8; 2],
    pub(crate) destination_port: [u8; 2],
    /// Of the UDP header and what it carries.
    pub(crate) udp_length: u16,
    pub(crate) udp_checksum: [u8; 2],
}

/// The family of a frame that may be the switch's: it is to one station, and IP.
#[inline(always)]
pub(super) fn ether_type<F: Frame + ?Sized>(frame: &F) -> Option<u16> {
    let ethernet: &[u8; 14] = frame.head()?;
    // To a group: the stations that hear it would all answer.
    (ethernet[0] & 1 == 0).then_some(number(ethernet, place::ETHER_TYPE))
}

impl Outer {
    /// The headers of a whole, plain UDP datagram to this port. `None` for everything else, which
    /// the host judges: so whatever it would refuse, it does refuse.
    #[inline(always)]
    pub(super) fn parse_v4<F: Frame + ?Sized>(frame: &F, port: u16) -> Option<Self> {
        const NO_OPTIONS: u8 = 0x45;
        let head: &[u8; place::PAYLOAD_V4] = frame.head()?;
        let whole = number(head, place::IP + 6) & 0x3fff == 0;
        if head[place::IP] != NO_OPTIONS || head[place::IP + 9] != protocol::UDP || !whole {
            return None;
        }
        if number(head, place::UDP_V4 + 2) != port {
            return None;
        }
        let length = number(head, place::IP + 2);
        let udp_length = number(head, place::UDP_V4 + 4);
        if u32::from(udp_length) + 20 != u32::from(length) || !fits(frame, 20, udp_length) {
            return None;
        }
        Some(Self {
            v6: false,
            traffic_class: head[place::IP + 1],
            hops: head[place::IP + 8],
            pair: V4Pair::from_bytes(part(head, place::IP + 12)),
            words: [Words::NONE; 2],
            source_port: part(head, place::UDP_V4),
            destination_port: part(head, place::UDP_V4 + 2),
            udp_length,
            udp_checksum: part(head, place::UDP_V4 + 6),
        })
    }

    /// As [`parse_v4`](Self::parse_v4).
    #[inline(always)]
    pub(super) fn parse_v6<F: Frame + ?Sized>(frame: &F, port: u16) -> Option<Self> {
        let head: &[u8; place::PAYLOAD_V6] = frame.head()?;
        let first = number(head, place::IP);
        if first >> 12 != 6 || head[place::IP + 6] != protocol::UDP {
            return None;
        }
        if number(head, place::UDP_V6 + 2) != port {
            return None;
        }
        let length = number(head, place::IP + 4);
        let udp_length = number(head, place::UDP_V6 + 4);
        let udp_checksum = part(head, place::UDP_V6 + 6);
        // RFC 8200: UDP over IPv6 always has a checksum.
        if udp_length != length || !fits(frame, 40, udp_length) || udp_checksum == [0, 0] {
            return None;
        }
        let half = |at| part(head, place::IP + at);
        let source = Words::from_halves(half(8), half(16));
        let destination = Words::from_halves(half(24), half(32));
        if source.is_v4() || destination.is_v4() {
            return None;
        }
        let [_, traffic_class] = (first >> 4).to_be_bytes();
        Some(Self {
            v6: true,
            traffic_class,
            hops: head[place::IP + 7],
            pair: V4Pair::NONE,
            words: [source, destination],
            source_port: part(head, place::UDP_V6),
            destination_port: part(head, place::UDP_V6 + 2),
            udp_length,
            udp_checksum,
        })
    }

    #[inline(always)]
    pub(crate) const fn source(&self) -> Words {
        if self.v6 { self.words[0] } else { self.pair.source() }
    }

    #[inline(always)]
    pub(crate) const fn destination(&self) -> Words {
        if self.v6 { self.words[1] } else { self.pair.destination() }
    }

    #[inline(always)]
    pub(super) const fn source_port(&self) -> u16 {
        u16::from_be_bytes(self.source_port)
    }

    /// Where the datagram's payload begins.
    #[inline(always)]
    pub(crate) const fn payload(&self) -> u32 {
        if self.v6 { 14 + 40 + 8 } else { 14 + 20 + 8 }
    }

    /// How long it is.
    #[inline(always)]
    pub(crate) fn payload_length(&self) -> u32 {
        u32::from(self.udp_length) - 8
    }
}

/// Whether the checksum of the frame's IPv4 header is right. Where that is mended by what changes,
/// it stays wrong if it was; where it is made anew or left out, somebody has to look.
#[inline(always)]
pub(super) fn is_intact_v4<F: Frame + ?Sized>(frame: &F) -> bool {
    let Some(head) = frame.head::<{ place::UDP_V4 }>() else { return false };
    let word = |at| part(head, place::IP + at);
    let sum = Sum::new().word(word(0)).word(word(4)).word(word(8)).word(word(12)).word(word(16));
    sum.fold() == 0xffff
}

/// Whether the frame has all of the datagram that its header promises.
#[inline(always)]
fn fits<F: Frame + ?Sized>(frame: &F, ip_header: usize, udp_length: u16) -> bool {
    let udp_length = usize::from(udp_length);
    udp_length >= 8 && 14 + ip_header + udp_length <= frame.length()
}
