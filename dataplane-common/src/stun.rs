//! STUN (RFC 8489): a host asks which address it is seen by.
//!
//! Only binding requests without credentials are answered. What needs more than that is left to the
//! caller: the kernel program gives it to user space.

use crate::{Address, PacketBytes, PacketBytesMut};

mod fingerprint;

pub use fingerprint::of_message as fingerprint;
use fingerprint::of_packet;

/// The length of a message without attributes.
pub const HEADER: u32 = 20;

/// The longest request that is answered: a plain client's has 20 or 28 bytes.
pub const LONGEST_REQUEST: u32 = 128;

/// The longest answer: an IPv6 address and a fingerprint.
pub const LONGEST_RESPONSE: u32 = 20 + 24 + 8;

/// The magic cookie of every message.
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// What a request begins with.
pub const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// What its answer begins with.
pub const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
/// What a refusal begins with.
pub const BINDING_ERROR: [u8; 2] = [0x01, 0x11];
/// The attribute that names the asker's address.
pub const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const FINGERPRINT: u16 = 0x8028;
/// Attributes from this number on may be passed over by who does not know them.
const OPTIONAL: u16 = 0x8000;
/// More than any plain client sends.
const MOST_ATTRIBUTES: u32 = 4;

/// A binding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the answer must repeat.
    pub transaction: [u8; 12],
    /// Whether it carries a fingerprint; then the answer does too.
    pub fingerprint: bool,
}

/// Whether a UDP payload of this length that begins with these two words is a STUN message.
#[inline(always)]
#[must_use]
pub const fn is_message(first: u32, second: u32, length: u32) -> bool {
    first >> 30 == 0 && second == u32::from_be_bytes(COOKIE) && length >= HEADER
}

/// The binding request in the UDP payload at `offset`, of this length. `None` for every other
/// message, and for one that asks for more than an answer.
#[inline(always)]
#[must_use]
pub fn parse<P: PacketBytes + ?Sized>(packet: &P, offset: u32, length: u32) -> Option<Request> {
    let header: [u8; HEADER as usize] = packet.read(offset)?;
    let [k0, k1, l0, l1, c0, c1, c2, c3, transaction @ ..] = header;
    let attributes = u32::from(u16::from_be_bytes([l0, l1]));
    let plain = [k0, k1] == BINDING_REQUEST && [c0, c1, c2, c3] == COOKIE;
    let whole = attributes + HEADER == length && attributes % 4 == 0;
    if !plain || !whole || length > LONGEST_REQUEST {
        return None;
    }
    let end = offset + length;
    let mut at = offset + HEADER;
    let mut fingerprint = None;
    for _ in 0..MOST_ATTRIBUTES {
        if at >= end {
            break;
        }
        let [t0, t1, l0, l1] = packet.read(at)?;
        let size = u32::from(u16::from_be_bytes([l0, l1]));
        match u16::from_be_bytes([t0, t1]) {
            // The last one: so it covers all that is before it.
            FINGERPRINT if size == 4 && at + 8 == end => fingerprint = Some(packet.read(at + 4)?),
            FINGERPRINT | ..OPTIONAL => return None,
            _ => {}
        }
        at += 4 + ((size + 3) & !3);
    }
    if at != end {
        return None;
    }
    if let Some(expected) = fingerprint
        && of_packet(packet, offset, length - 8) != expected
    {
        return None;
    }
    Some(Request { transaction, fingerprint: fingerprint.is_some() })
}

/// How long the answer to this request is.
#[inline(always)]
#[must_use]
pub const fn response_length(request: &Request, to_v4: bool) -> u16 {
    let plain = if to_v4 { 32 } else { 44 };
    if request.fingerprint { plain + 8 } else { plain }
}

/// Writes the answer to a request from this address and port; false if there is no room for it.
#[inline(always)]
#[must_use]
pub fn write_response<P: PacketBytesMut + ?Sized>(
    packet: &mut P,
    offset: u32,
    request: &Request,
    source: &Address,
    port: u16,
) -> bool {
    let [l0, l1] = (response_length(request, source.is_v4()) - 20).to_be_bytes();
    let [k0, k1] = BINDING_SUCCESS;
    let [c0, c1, c2, c3] = COOKIE;
    let [x0, x1] = XOR_MAPPED_ADDRESS;
    let [p0, p1] = port.to_be_bytes();
    let (family, size) = if source.is_v4() { (1, 8) } else { (2, 20) };
    // What hides the address are the bytes before it: cookie and transaction.
    let t = request.transaction;
    let [.., v0, v1, v2, v3] = source.to_bytes();
    packet.write(offset, [k0, k1, l0, l1, c0, c1, c2, c3])
        && packet.write(offset + 8, t)
        && packet.write(offset + HEADER, [x0, x1, 0, size, 0, family, p0 ^ c0, p1 ^ c1])
        && if source.is_v4() {
            packet.write(offset + 28, [v0 ^ c0, v1 ^ c1, v2 ^ c2, v3 ^ c3])
                && (!request.fingerprint || write_fingerprint(packet, offset, 32))
        } else {
            let [a0, a1, a2, a3, ..] = source.to_bytes();
            packet.write(offset + 28, [a0 ^ c0, a1 ^ c1, a2 ^ c2, a3 ^ c3])
                && packet.write(offset + 32, hidden(source, &t))
                && (!request.fingerprint || write_fingerprint(packet, offset, 44))
        }
}

#[inline(always)]
fn hidden(source: &Address, transaction: &[u8; 12]) -> [u8; 12] {
    let [_, _, _, _, a @ ..] = source.to_bytes();
    let t = transaction;
    [
        a[0] ^ t[0],
        a[1] ^ t[1],
        a[2] ^ t[2],
        a[3] ^ t[3],
        a[4] ^ t[4],
        a[5] ^ t[5],
        a[6] ^ t[6],
        a[7] ^ t[7],
        a[8] ^ t[8],
        a[9] ^ t[9],
        a[10] ^ t[10],
        a[11] ^ t[11],
    ]
}

#[inline(always)]
fn write_fingerprint<P: PacketBytesMut + ?Sized>(packet: &mut P, offset: u32, length: u32) -> bool {
    let [a, b, c, d] = of_packet(packet, offset, length);
    packet.write(offset + length, [0x80, 0x28, 0, 4, a, b, c, d])
}

/// An answer, for those who send it by a socket.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    bytes: [u8; LONGEST_RESPONSE as usize],
    length: u16,
}

impl Response {
    /// The answer to a request from this address and port.
    #[must_use]
    pub fn new(request: &Request, source: &Address, port: u16) -> Self {
        let mut bytes = [0; LONGEST_RESPONSE as usize];
        let fits = write_response(&mut bytes[..], 0, request, source, port);
        debug_assert!(fits);
        Self { bytes, length: response_length(request, source.is_v4()) }
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}
