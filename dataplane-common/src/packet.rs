//! From bytes to the headers that a verdict needs.

use crate::{
    Address, DropReason, Signals,
    transport::parse_transport,
    words::{join, zero},
};

/// IP protocol numbers that the program knows by name.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// A packet, read by copying: the kernel checks the bounds of a copy itself, and a copy reaches
/// bytes outside of a super-packet's first buffer.
pub trait PacketBytes {
    /// The `N` bytes from `offset` on, if the packet has all of them.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// The `N` words of four bytes from `offset` on, as they lie there, if the packet has all of
    /// them.
    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (at, word) in (offset..).step_by(4).zip(&mut words) {
            *word = u32::from_ne_bytes(self.read(at)?);
        }
        Some(words)
    }

    /// The first `N` words, if they can be had at once.
    #[inline(always)]
    fn front<const N: usize>(&self) -> Option<[u32; N]> {
        self.words(0)
    }
}

impl PacketBytes for [u8] {
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// What a verdict needs to know of a packet.
///
/// Plain data, without enums that carry any: a field that is not set is zero, because the kernel's
/// verifier objects to code that so much as moves a byte never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// The sender's number for the datagram, if this is a fragment of one.
    pub fragment_id: u32,
    /// For [`Transport::Error`]: where the packet that it is about begins.
    pub quoted: u32,
    /// The sender's port. A protocol without ports has zeros; ICMP has what pairs a request with
    /// its reply.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The upper-layer protocol.
    pub protocol: u8,
    /// Whether this is a fragment of a datagram.
    pub fragmented: bool,
    /// What the upper-layer header is.
    pub transport: Transport,
    /// What it does to its flow.
    pub signals: Signals,
}

/// The upper-layer header, as far as a verdict depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// It names the ends of a flow.
    Ports,
    /// An ICMP error.
    Error,
    /// Not in this packet: it is a later fragment.
    LaterFragment,
}

impl Headers {
    /// Nothing known yet.
    #[inline(always)]
    pub(crate) fn unknown() -> Self {
        let zero = zero();
        let byte = (zero & 0xff) as u8;
        Self {
            source: Address::from_words([zero, zero]),
            destination: Address::from_words([zero, zero]),
            fragment_id: (zero & 0xffff_ffff) as u32,
            quoted: (zero & 0xffff_ffff) as u32,
            source_port: u16::from(byte),
            destination_port: u16::from(byte),
            protocol: byte,
            fragmented: false,
            transport: Transport::Ports,
            signals: Signals::NONE,
        }
    }
}

/// How much of the upper-layer header there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that a verdict depends on.
    Whole,
    /// The ports: an ICMP error quotes no more.
    Quoted,
}

/// Reads the headers of the IP packet that begins at `offset`. Those read before an error stay.
///
/// The version nibble decides the family, not what the device said of the packet: the tunnel
/// device itself goes by the nibble, and the host's stack checks it again.
///
/// # Errors
///
/// The reason for which a packet with such headers is dropped.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    extent: Extent,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    match parse_into(packet, offset, matches!(extent, Extent::Quoted), headers) {
        PARSED => Ok(()),
        reason => Err(DropReason::of_policy(reason)),
    }
}

/// No discriminant of [`DropReason`].
const PARSED: u32 = u32::MAX;

// In a frame of its own: the kernel's machine has 512 bytes of stack, which calls one after another
// share but inlined code does not. A number is returned because the kernel reads signatures as
// BTF, and refuses enums that carry data.
#[inline(never)]
fn parse_into<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    quoted: bool,
    headers: &mut Headers,
) -> u32 {
    // Either family's header is at least so long.
    let parsed = match packet.words::<5>(offset) {
        Some(words) => match words[0].to_ne_bytes()[0] >> 4 {
            4 => parse_v4(packet, offset, words, quoted, headers),
            6 => parse_v6(packet, offset, quoted, headers),
            _ => Err(DropReason::PolicyNotIp),
        },
        None => match packet.read(offset) {
            Some([first]) if !matches!(first >> 4, 4 | 6) => Err(DropReason::PolicyNotIp),
            _ => Err(DropReason::PolicyTruncated),
        },
    };
    match parsed {
        Ok(()) => PARSED,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn parse_v4<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    [first, second, third, source, destination]: [u32; 5],
    quoted: bool,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    let [version_and_length, _, length_high, length_low] = first.to_ne_bytes();
    let [id_high, id_low, offset_high, offset_low] = second.to_ne_bytes();
    let [_, protocol, _, _] = third.to_ne_bytes();
    let length = u32::from(version_and_length & 0x0f) * 4;
    if length < 20 {
        return Err(DropReason::PolicyTruncated);
    }
    headers.source = Address::from_v4_word(source);
    headers.destination = Address::from_v4_word(destination);
    headers.protocol = protocol;
    headers.fragment_id = u32::from(u16::from_be_bytes([id_high, id_low]));
    let flags_and_offset = u16::from_be_bytes([offset_high, offset_low]);
    headers.fragmented = flags_and_offset & 0x3fff != 0;
    let fragment_offset = flags_and_offset & 0x1fff;
    if fragment_offset != 0 {
        return later_fragment(fragment_offset, headers.protocol == protocol::TCP, headers);
    }
    let end = offset + u32::from(u16::from_be_bytes([length_high, length_low]));
    parse_transport(packet, offset + length, end, quoted, headers)
}

/// Notes a fragment that is not the first, at `offset` units of eight bytes; of what may be TCP, one
/// that overlaps the flags is refused (RFC 3128).
#[inline(always)]
const fn later_fragment(
    offset: u16,
    may_be_tcp: bool,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    headers.transport = Transport::LaterFragment;
    if offset == 1 && may_be_tcp {
        return Err(DropReason::PolicyOverlappingFragment);
    }
    Ok(())
}

#[inline(always)]
fn parse_v6<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    quoted: bool,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    let [_, second, a, b, c, d, e, f, g, h] =
        packet.words::<10>(offset).ok_or(DropReason::PolicyTruncated)?;
    let [length_high, length_low, next, _] = second.to_ne_bytes();
    let end = offset + 40 + u32::from(u16::from_be_bytes([length_high, length_low]));
    headers.source = Address::from_words([join(a, b), join(c, d)]);
    headers.destination = Address::from_words([join(e, f), join(g, h)]);
    if headers.source.is_v4() || headers.destination.is_v4() {
        return Err(DropReason::PolicyMappedAddress);
    }

    headers.protocol = next;
    let mut at = offset + 40;
    // Six headers and no more: more than any honest packet has. Spelled out:
    // Linux 6.1 refuses a loop whose head follows a call, and where the head comes to lie is the
    // compiler's choice.
    let mut step = || step_over(packet, &mut at, headers);
    let more = step()? && step()? && step()? && step()? && step()? && step()?;
    if more && ExtensionHeader::of(headers.protocol).is_some() {
        return Err(DropReason::PolicyExtensionHeaders);
    }
    if headers.transport == Transport::LaterFragment {
        return Ok(());
    }
    parse_transport(packet, at, end, quoted, headers)
}

/// Steps over one extension header at `at`; false if there is none, or nothing readable behind it.
#[inline(always)]
fn step_over<P: PacketBytes + ?Sized>(
    packet: &P,
    at: &mut u32,
    headers: &mut Headers,
) -> Result<bool, DropReason> {
    let Some(kind) = ExtensionHeader::of(headers.protocol) else { return Ok(false) };
    let [next, length, high, low, a, b, c, d]: [u8; 8] =
        packet.read(*at).ok_or(DropReason::PolicyTruncated)?;
    headers.protocol = next;
    *at += match kind {
        ExtensionHeader::Fragment => {
            // What the host would put together twice cannot be followed.
            if headers.fragmented {
                return Err(DropReason::PolicyFragment);
            }
            let offset_and_more = u16::from_be_bytes([high, low]) & !0b110;
            // Neither an offset nor more to come: an atomic fragment (RFC 6946), a whole packet.
            if offset_and_more != 0 {
                headers.fragmented = true;
                headers.fragment_id = u32::from_be_bytes([a, b, c, d]);
            }
            // Behind it begins the transport's header and nothing else, so that an offset tells what
            // is overlapped. Hosts go by the first fragment's next header, whatever later ones name.
            let more = ExtensionHeader::of(next);
            let hides =
                matches!(more, Some(ExtensionHeader::Authentication | ExtensionHeader::Other));
            if offset_and_more != 0 && hides {
                return Err(DropReason::PolicyExtensionHeaders);
            }
            if offset_and_more & !1 != 0 {
                return later_fragment(offset_and_more >> 3, true, headers).map(|()| false);
            }
            8
        }
        ExtensionHeader::Authentication => (u32::from(length) + 2) * 4,
        ExtensionHeader::Other => (u32::from(length) + 1) * 8,
    };
    Ok(true)
}

/// How to step over an extension header. ESP and "no next header" end the walk: what follows them
/// cannot be read.
#[derive(Clone, Copy)]
enum ExtensionHeader {
    Fragment,
    Authentication,
    Other,
}

impl ExtensionHeader {
    #[inline(always)]
    const fn of(protocol: u8) -> Option<Self> {
        match protocol {
            44 => Some(Self::Fragment),
            51 => Some(Self::Authentication),
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => Some(Self::Other),
            _ => None,
        }
    }
}
