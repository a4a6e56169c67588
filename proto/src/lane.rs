//! Lanes: WireGuard packets through a relay in plain UDP, eight bytes in front of each.
//!
//! A lane joins two ends. Each end has an id of its own: a datagram's header names the end that
//! sends it, and leaves the relay with the id of the end that is to have it. Ids and secrets are
//! handed out on the control channel; an end proves its address before anything is sent there.
//! All integers are big-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 3 | magic: `b7 6e 77` |
//! | 3 | 1 | type |
//! | 4 | 4 | lane id of the end (not 0) |
//!
//! | type | who | bytes | after the header |
//! |---|---|---|---|
//! | 0 data | both | 9 or more | the payload |
//! | 1 bind | node | 64 | 56 zeros |
//! | 2 challenge | relay | 24 | cookie (16) |
//! | 3 prove | node | 48 | cookie (16), nonce (8), MAC (16) |
//! | 4 bound | relay | 44 | the node's address as it was seen (18), lifetime in seconds (2), MAC (16) |
//! | 5 keepalive | node | 16 | number (8) |
//! | 6 kept | relay | 16 | the same number (8) |
//! | 7 refused | relay | 9 | [`LaneRefusal`] (1) |
//!
//! No answer is longer than what it answers, so that a forged source gains nothing.
//!
//! The cookie is the relay's: a MAC over the end's id and address. The MACs are by the end's secret
//! (HMAC-SHA-256, its first 16 bytes): of prove over `01`, lane id, cookie and nonce; of bound over `02`,
//! lane id, the nonce it answers, address and lifetime. A nonce must be greater than any before it.

use std::net::SocketAddr;

use ring::hmac;
use zeroize::Zeroizing;

use crate::bytes::{Reader, address_bytes};

/// The UDP port of lanes and STUN.
pub const LANE_PORT: u16 = 3478;
/// The first three bytes of every lane datagram: neither STUN, TURN channel data nor WireGuard.
pub const LANE_MAGIC: [u8; 3] = [0xb7, 0x6e, 0x77];
/// The length of the header, in bytes.
pub const LANE_HEADER_LEN: usize = 8;
/// The length of a bind, in bytes: no shorter than any answer to it.
pub const BIND_LEN: usize = 64;
/// The length of a cookie, and of a MAC.
pub const MAC_LEN: usize = 16;

/// Names an end of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(std::num::NonZeroU32);

/// What an end proves itself by; never printed by `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct LaneSecret(Zeroizing<[u8; 16]>);

/// The relay's mark on an address: whoever returns it receives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(pub [u8; MAC_LEN]);

/// Why the relay does not do what an end asked over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LaneRefusal {
    /// There is no such end (any more): open a lane anew.
    Unknown = 1,
    /// The cookie is not of this address, or too old: bind again.
    BadCookie = 2,
    /// The MAC is not by the end's secret, or its nonce was used.
    BadProof = 3,
    /// A keepalive from an address that the end has not proven: bind again.
    NotBound = 4,
}

/// A datagram of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneMessage<'a> {
    /// A packet for the other end.
    Data(LaneId, &'a [u8]),
    /// "Send me to the other end from here on."
    Bind(LaneId),
    /// "Show that you receive there."
    Challenge(LaneId, Cookie),
    /// "I do, and I am the one the lane was opened for."
    Prove(Proof),
    /// "So be it."
    Bound(Bound),
    /// "I am still here."
    Keepalive(LaneId, u64),
    /// "I know."
    Kept(LaneId, u64),
    /// "No."
    Refused(LaneId, LaneRefusal),
}

/// What an end proves its address and itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The end.
    pub lane: LaneId,
    /// What came to the address.
    pub cookie: Cookie,
    /// Greater than any before it.
    pub nonce: u64,
    /// By the end's secret.
    pub mac: [u8; MAC_LEN],
}

/// The relay's answer to a good proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The end.
    pub lane: LaneId,
    /// The address that was proven.
    pub address: SocketAddr,
    /// Seconds without a datagram after which the address is forgotten.
    pub lifetime: u16,
    /// By the end's secret.
    pub mac: [u8; MAC_LEN],
}

impl LaneId {
    /// An id; 0 is none.
    #[must_use]
    pub fn new(id: u32) -> Option<Self> {
        std::num::NonZeroU32::new(id).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<[u8; 16]> for LaneSecret {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl LaneSecret {
    /// The bytes, to be sent over the control channel.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref())
    }
}

impl std::fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneSecret(hidden)")
    }
}

impl Proof {
    /// Proves that its maker holds `secret` and received `cookie`.
    #[must_use]
    pub fn new(secret: &LaneSecret, lane: LaneId, cookie: Cookie, nonce: u64) -> Self {
        let tag = hmac::sign(&secret.key(), &Self::covered(lane, cookie, nonce));
        Self { lane, cookie, nonce, mac: truncated(&tag) }
    }

    /// Whether the end's secret made it.
    #[must_use]
    pub fn is_by(&self, secret: &LaneSecret) -> bool {
        let covered = Self::covered(self.lane, self.cookie, self.nonce);
        same(&truncated(&hmac::sign(&secret.key(), &covered)), &self.mac)
    }

    fn covered(lane: LaneId, cookie: Cookie, nonce: u64) -> Vec<u8> {
        [&[1][..], &lane.get().to_be_bytes(), &cookie.0, &nonce.to_be_bytes()].concat()
    }
}

impl Bound {
    /// Answers the proof with this nonce.
    #[must_use]
    pub fn new(
        secret: &LaneSecret,
        lane: LaneId,
        nonce: u64,
        address: SocketAddr,
        lifetime: u16,
    ) -> Self {
        let tag = hmac::sign(&secret.key(), &Self::covered(lane, nonce, address, lifetime));
        Self { lane, address, lifetime, mac: truncated(&tag) }
    }

    /// Whether the end's secret made it, in answer to this nonce.
    #[must_use]
    pub fn is_by(&self, secret: &LaneSecret, nonce: u64) -> bool {
        let covered = Self::covered(self.lane, nonce, self.address, self.lifetime);
        same(&truncated(&hmac::sign(&secret.key(), &covered)), &self.mac)
    }

    fn covered(lane: LaneId, nonce: u64, address: SocketAddr, lifetime: u16) -> Vec<u8> {
        let (address, lifetime) = (address_bytes(address), lifetime.to_be_bytes());
        let id = lane.get().to_be_bytes();
        [&[2][..], &id, &nonce.to_be_bytes(), &address, &lifetime].concat()
    }
}

impl<'a> LaneMessage<'a> {
    /// Reads a datagram; `None` if it is none of a lane.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        if reader.array()? != LANE_MAGIC {
            return None;
        }
        let kind = reader.u8()?;
        let lane = LaneId::new(reader.u32()?)?;
        let message = match kind {
            0 => {
                let payload = reader.rest();
                return (!payload.is_empty()).then_some(Self::Data(lane, payload));
            }
            1 => {
                reader.array::<{ BIND_LEN - LANE_HEADER_LEN }>()?;
                Self::Bind(lane)
            }
            2 => Self::Challenge(lane, Cookie(reader.array()?)),
            3 => Self::Prove(Proof {
                lane,
                cookie: Cookie(reader.array()?),
                nonce: reader.u64()?,
                mac: reader.array()?,
            }),
            4 => Self::Bound(Bound {
                lane,
                address: reader.address()?,
                lifetime: reader.u16()?,
                mac: reader.array()?,
            }),
            5 => Self::Keepalive(lane, reader.u64()?),
            6 => Self::Kept(lane, reader.u64()?),
            7 => Self::Refused(lane, LaneRefusal::from_code(reader.u8()?)?),
            _ => return None,
        };
        reader.end().map(|()| message)
    }

    /// Appends the datagram's bytes.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Data(lane, payload) => {
                to.extend(data_header(*lane));
                to.extend_from_slice(payload);
            }
            Self::Bind(lane) => {
                to.extend(header(1, *lane));
                to.extend([0; BIND_LEN - LANE_HEADER_LEN]);
            }
            Self::Challenge(lane, cookie) => {
                to.extend(header(2, *lane));
                to.extend(cookie.0);
            }
            Self::Prove(proof) => {
                to.extend(header(3, proof.lane));
                to.extend(proof.cookie.0);
                to.extend(proof.nonce.to_be_bytes());
                to.extend(proof.mac);
            }
            Self::Bound(bound) => {
                to.extend(header(4, bound.lane));
                to.extend(address_bytes(bound.address));
                to.extend(bound.lifetime.to_be_bytes());
                to.extend(bound.mac);
            }
            Self::Keepalive(lane, number) => {
                to.extend(header(5, *lane));
                to.extend(number.to_be_bytes());
            }
            Self::Kept(lane, number) => {
                to.extend(header(6, *lane));
                to.extend(number.to_be_bytes());
            }
            Self::Refused(lane, why) => {
                to.extend(header(7, *lane));
                to.push(*why as u8);
            }
        }
    }
}

impl LaneRefusal {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Unknown, Self::BadCookie, Self::BadProof, Self::NotBound]
            .into_iter()
            .find(|&refusal| refusal as u8 == code)
    }
}

/// The header of a data datagram of this end.
#[must_use]
pub fn data_header(lane: LaneId) -> [u8; LANE_HEADER_LEN] {
    header(0, lane)
}

fn header(kind: u8, lane: LaneId) -> [u8; LANE_HEADER_LEN] {
    let ([a, b, c], [d, e, f, g]) = (LANE_MAGIC, lane.get().to_be_bytes());
    [a, b, c, kind, d, e, f, g]
}

fn truncated(tag: &hmac::Tag) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    mac.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
    mac
}

/// Compares without telling by the time where they differ.
fn same(a: &[u8; MAC_LEN], b: &[u8; MAC_LEN]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane() -> LaneId {
        LaneId::new(0x0102_0304).unwrap()
    }

    fn bytes(message: LaneMessage<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    }

    fn all(payload: &[u8], number: u64) -> [LaneMessage<'_>; 11] {
        let secret = LaneSecret::from([7; 16]);
        let cookie = Cookie([5; 16]);
        let bound =
            |address: &str| Bound::new(&secret, lane(), number, address.parse().unwrap(), 30);
        [
            LaneMessage::Data(lane(), payload),
            LaneMessage::Bind(lane()),
            LaneMessage::Challenge(lane(), cookie),
            LaneMessage::Prove(Proof::new(&secret, lane(), cookie, number)),
            LaneMessage::Bound(bound("192.0.2.1:9")),
            LaneMessage::Bound(bound("[2001:db8::1]:9")),
            LaneMessage::Keepalive(lane(), number),
            LaneMessage::Kept(lane(), number),
            LaneMessage::Refused(lane(), LaneRefusal::Unknown),
            LaneMessage::Refused(lane(), LaneRefusal::BadCookie),
            LaneMessage::Refused(lane(), LaneRefusal::NotBound),
        ]
    }

    #[test]
    fn the_layout_is_what_the_page_says() {
        let lens = all(b"x", 1).map(|message| bytes(message).len());
        assert_eq!(lens, [9, 64, 24, 48, 44, 44, 16, 16, 9, 9, 9]);
        assert_eq!(bytes(LaneMessage::Data(lane(), b"x")), b"\xb7nw\x00\x01\x02\x03\x04x");
    }

    #[test]
    fn only_the_secret_and_its_nonce_prove() {
        let (right, wrong) = (LaneSecret::from([1; 16]), LaneSecret::from([2; 16]));
        let proof = Proof::new(&right, lane(), Cookie([5; 16]), 9);
        assert!(proof.is_by(&right) && !proof.is_by(&wrong));
        assert!(!Proof { nonce: 10, ..proof }.is_by(&right));
        assert!(!Proof { cookie: Cookie([6; 16]), ..proof }.is_by(&right));
        let bound = Bound::new(&right, lane(), 9, "192.0.2.1:9".parse().unwrap(), 30);
        assert!(bound.is_by(&right, 9) && !bound.is_by(&right, 10) && !bound.is_by(&wrong, 9));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", LaneSecret::from([1; 16])), "LaneSecret(hidden)");
    }

    proptest! {
        #[test]
        fn messages_round_trip(payload in proptest::collection::vec(any::<u8>(), 1..99), n: u64) {
            for message in all(&payload, n) {
                let bytes = bytes(message);
                prop_assert_eq!(LaneMessage::parse(&bytes), Some(message));
                if !matches!(message, LaneMessage::Data(..)) {
                    prop_assert_eq!(LaneMessage::parse(&bytes[..bytes.len() - 1]), None);
                    let longer = [&bytes[..], &[0]].concat();
                    prop_assert_eq!(LaneMessage::parse(&longer), None);
                }
            }
        }

        #[test]
        fn what_is_read_is_what_is_written(kind in 0..9u8, tail in
            proptest::collection::vec(any::<u8>(), 0..70)) {
            let datagram = [&[0xb7, 0x6e, 0x77, kind][..], &tail].concat();
            if let Some(message) = LaneMessage::parse(&datagram) {
                // A bind's padding is not looked at, nor in which form an IPv4 address came.
                if !matches!(message, LaneMessage::Bind(_) | LaneMessage::Bound(_)) {
                    prop_assert_eq!(bytes(message), datagram);
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = LaneMessage::parse(&bytes);
        }
    }
}
