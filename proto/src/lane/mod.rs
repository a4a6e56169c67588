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

mod proof;
#[cfg(test)]
mod tests;

pub use proof::{Bound, Cookie, LaneSecret, MAC_LEN, Proof};

pub use dataplane_common::{LANE_HEADER_LEN, LANE_MAGIC, LaneHeader, LaneId, LaneKind};

use crate::bytes::{Reader, address_bytes};

/// The UDP port of lanes and STUN.
pub const LANE_PORT: u16 = 3478;
/// The length of a bind, in bytes: no shorter than any answer to it.
pub const BIND_LEN: usize = 64;

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

impl<'a> LaneMessage<'a> {
    /// Reads a datagram; `None` if it is none of a lane.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let LaneHeader { kind, lane } = LaneHeader::parse(reader.array()?)?;
        let message = match kind {
            LaneKind::Data => {
                let payload = reader.rest();
                return (!payload.is_empty()).then_some(Self::Data(lane, payload));
            }
            LaneKind::Bind => {
                reader.array::<{ BIND_LEN - LANE_HEADER_LEN }>()?;
                Self::Bind(lane)
            }
            LaneKind::Challenge => Self::Challenge(lane, Cookie(reader.array()?)),
            LaneKind::Prove => Self::Prove(Proof {
                lane,
                cookie: Cookie(reader.array()?),
                nonce: reader.u64()?,
                mac: reader.array()?,
            }),
            LaneKind::Bound => Self::Bound(Bound {
                lane,
                address: reader.address()?,
                lifetime: reader.u16()?,
                mac: reader.array()?,
            }),
            LaneKind::Keepalive => Self::Keepalive(lane, reader.u64()?),
            LaneKind::Kept => Self::Kept(lane, reader.u64()?),
            LaneKind::Refused => Self::Refused(lane, LaneRefusal::from_code(reader.u8()?)?),
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
                to.extend(header(LaneKind::Bind, *lane));
                to.extend([0; BIND_LEN - LANE_HEADER_LEN]);
            }
            Self::Challenge(lane, cookie) => {
                to.extend(header(LaneKind::Challenge, *lane));
                to.extend(cookie.0);
            }
            Self::Prove(proof) => {
                to.extend(header(LaneKind::Prove, proof.lane));
                to.extend(proof.cookie.0);
                to.extend(proof.nonce.to_be_bytes());
                to.extend(proof.mac);
            }
            Self::Bound(bound) => {
                to.extend(header(LaneKind::Bound, bound.lane));
                to.extend(address_bytes(bound.address));
                to.extend(bound.lifetime.to_be_bytes());
                to.extend(bound.mac);
            }
            Self::Keepalive(lane, number) => {
                to.extend(header(LaneKind::Keepalive, *lane));
                to.extend(number.to_be_bytes());
            }
            Self::Kept(lane, number) => {
                to.extend(header(LaneKind::Kept, *lane));
                to.extend(number.to_be_bytes());
            }
            Self::Refused(lane, why) => {
                to.extend(header(LaneKind::Refused, *lane));
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
pub const fn data_header(lane: LaneId) -> [u8; LANE_HEADER_LEN] {
    LaneHeader::data(lane).to_bytes()
}

fn header(kind: LaneKind, lane: LaneId) -> [u8; LANE_HEADER_LEN] {
    LaneHeader { kind, lane }.to_bytes()
}
