//! From the upper-layer header to what it means for a flow.

use crate::{DropReason, Headers, PacketBytes, Transport, protocol};

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Signals(u8);

impl Signals {
    /// It just belongs to it.
    pub const NONE: Self = Self(0);
    /// It may open one.
    pub const OPEN: Self = Self(1);
    /// Its sender has nothing more to send.
    pub const FINISH: Self = Self(2);
    /// It ends it.
    pub const RESET: Self = Self(4);

    /// Whether a flow may begin with it.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & Self::OPEN.0 != 0
    }

    /// Whether its sender has finished.
    #[inline(always)]
    #[must_use]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FINISH.0 != 0
    }

    /// Whether it ends the flow.
    #[inline(always)]
    #[must_use]
    pub const fn resets(self) -> bool {
        self.0 & Self::RESET.0 != 0
    }

    /// A connection begins with a SYN that acknowledges nothing.
    #[inline(always)]
    pub(crate) const fn of_tcp(flags: u8) -> Self {
        const FIN: u8 = 0x01;
        const SYN: u8 = 0x02;
        const RST: u8 = 0x04;
        const ACK: u8 = 0x10;
        match flags & (FIN | SYN | RST | ACK) {
            SYN => Self::OPEN,
            of if of & RST != 0 => Self::RESET,
            of if of & FIN != 0 => Self::FINISH,
            _ => Self::NONE,
        }
    }

    /// An association begins with an INIT, and ends with an ABORT or a SHUTDOWN COMPLETE, which are
    /// the first of their packet.
    #[inline(always)]
    const fn of_sctp(first_chunk: u8) -> Self {
        match first_chunk {
            1 => Self::OPEN,
            6 | 14 => Self::RESET,
            _ => Self::NONE,
        }
    }
}

/// Reads the upper-layer header at `at`, of a packet that ends at `end` by its own account.
#[inline(always)]
pub(crate) fn parse_transport<P: PacketBytes + ?Sized>(
    packet: &P,
    at: u32,
    end: u32,
    quoted: bool,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    let short = if headers.fragmented {
        DropReason::PolicyTinyFragment
    } else {
        DropReason::PolicyTruncated
    };
    // The host puts fragments together by the length that they claim, whatever follows.
    let fits = |length: u32| !headers.fragmented || quoted || at + length <= end;
    match headers.protocol {
        // The last byte of these is TCP's flags, the one before it the type of SCTP's first chunk.
        ip_protocol @ (protocol::TCP | protocol::SCTP) if !quoted => {
            if !fits(14) {
                return Err(short);
            }
            let [a, b, c, d, _, _, _, _, _, _, _, _, chunk, flags] =
                packet.read::<14>(at).ok_or(short)?;
            headers.source_port = u16::from_be_bytes([a, b]);
            headers.destination_port = u16::from_be_bytes([c, d]);
            headers.signals = match ip_protocol {
                protocol::TCP => Signals::of_tcp(flags),
                _ => Signals::of_sctp(chunk),
            };
        }
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            if !fits(8) {
                return Err(short);
            }
            let [a, b, c, d] = packet.read(at).ok_or(short)?;
            headers.source_port = u16::from_be_bytes([a, b]);
            headers.destination_port = u16::from_be_bytes([c, d]);
            headers.signals = Signals::OPEN;
        }
        protocol::ICMP | protocol::ICMPV6 => {
            if !fits(8) {
                return Err(short);
            }
            let header: [u8; 8] = packet.read(at).ok_or(short)?;
            headers.signals = Signals::OPEN;
            icmp_transport(header, at, headers);
        }
        _ => headers.signals = Signals::OPEN,
    }
    Ok(())
}

/// Beyond every packet.
const NOWHERE: u32 = 1 << 24;

/// An echo's identifier stands for the asker's port, and the number of the echo request for the
/// answerer's: so a host that asks can be answered, but not asked back with the same identifier.
#[inline(always)]
fn icmp_transport(header: [u8; 8], at: u32, headers: &mut Headers) {
    const ANSWERER: u16 = 8;
    let [kind, code, _, _, id_high, id_low, _, _] = header;
    let id = u16::from_be_bytes([id_high, id_low]);
    match (headers.protocol, kind) {
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => {
            headers.source_port = id;
            headers.destination_port = ANSWERER;
        }
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => {
            headers.source_port = ANSWERER;
            headers.destination_port = id;
        }
        // Unreachable (and too big), time exceeded, bad parameter.
        (protocol::ICMP, 3 | 11 | 12) | (protocol::ICMPV6, 1..=4) => {
            headers.transport = Transport::Error;
            headers.quoted = at + 8;
        }
        // Redirects and the old quench, which nobody on a tunnel has to send: errors about nothing.
        (protocol::ICMP, 4 | 5) | (protocol::ICMPV6, 137) => {
            headers.transport = Transport::Error;
            headers.quoted = NOWHERE;
        }
        _ => headers.destination_port = u16::from_be_bytes([kind, code]),
    }
}
