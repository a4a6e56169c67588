//! The header of a lane's datagrams, and what a datagram at a relay's port is by its first bytes.

use crate::words::split;
use crate::{DropReason, LaneId, stun};

/// How every lane message begins: neither STUN (`00......`), nor TURN's channel data (`01......`),
/// nor WireGuard (1 to 4).
pub const LANE_MAGIC: [u8; 3] = [0xb7, 0x6e, 0x77];

/// Magic, kind, and the sender's lane id, most significant byte first.
pub const LANE_HEADER_LEN: usize = 8;

/// What a lane's datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LaneKind {
    /// A packet for the other end: whatever the ends send each other.
    Data = 0,
    /// "Send me to the other end from here on."
    Bind = 1,
    /// "Show that you receive there."
    Challenge = 2,
    /// "I do, and I am the one the lane was opened for."
    Prove = 3,
    /// "So be it."
    Bound = 4,
    /// "I am still here."
    Keepalive = 5,
    /// "I know."
    Kept = 6,
    /// "No."
    Refused = 7,
}

impl LaneKind {
    /// The kind of this number.
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Data,
            1 => Self::Bind,
            2 => Self::Challenge,
            3 => Self::Prove,
            4 => Self::Bound,
            5 => Self::Keepalive,
            6 => Self::Kept,
            7 => Self::Refused,
            _ => return None,
        })
    }
}

/// What stands before every datagram of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneHeader {
    /// What it is.
    pub kind: LaneKind,
    /// The end that sends it or, in what the relay sends, the one that is to have it.
    pub lane: LaneId,
}

impl LaneHeader {
    /// Of a packet of this end.
    #[inline(always)]
    #[must_use]
    pub const fn data(lane: LaneId) -> Self {
        Self { kind: LaneKind::Data, lane }
    }

    /// Reads it; `None` if these bytes begin no lane's datagram.
    #[inline(always)]
    #[must_use]
    pub const fn parse(bytes: [u8; LANE_HEADER_LEN]) -> Option<Self> {
        let [m0, m1, m2, kind, a, b, c, d] = bytes;
        let [n0, n1, n2] = LANE_MAGIC;
        if m0 != n0 || m1 != n1 || m2 != n2 {
            return None;
        }
        match (LaneKind::of(kind), LaneId::from_number(u32::from_be_bytes([a, b, c, d]))) {
            (Some(kind), Some(lane)) => Some(Self { kind, lane }),
            _ => None,
        }
    }

    /// Its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LANE_HEADER_LEN] {
        let ([m0, m1, m2], [a, b, c, d]) = (LANE_MAGIC, self.lane.0.to_be_bytes());
        [m0, m1, m2, self.kind as u8, a, b, c, d]
    }

    /// The bytes of a packet of the end with this number, which is as on the wire.
    #[inline(always)]
    pub(super) const fn data_bytes([a, b, c, d]: [u8; 4]) -> [u8; LANE_HEADER_LEN] {
        let [m0, m1, m2] = LANE_MAGIC;
        [m0, m1, m2, LaneKind::Data as u8, a, b, c, d]
    }
}

/// A datagram at the relay's port, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtPort {
    /// For the other end of this lane.
    Data(LaneId),
    /// About a lane: for the relay itself.
    Control,
    /// A STUN message.
    Stun,
}

impl AtPort {
    /// What a UDP payload of this length is, by its first bytes as a word, as they are; `None` where
    /// it has fewer. A header without anything behind it is malformed.
    #[inline(always)]
    pub(super) fn parse(first: Option<u64>, length: u32) -> Result<Self, DropReason> {
        const HEADER: u32 = 8;
        const DATA: u32 = u32::from_ne_bytes([LANE_MAGIC[0], LANE_MAGIC[1], LANE_MAGIC[2], 0]);
        let malformed = DropReason::LaneMalformed;
        let first = first.ok_or(malformed)?;
        let (head, second) = split(first);
        let second = u32::from_be(second);
        if length <= HEADER {
            return Err(malformed);
        }
        // One comparison for what nearly all datagrams are.
        if head == DATA {
            return Ok(Self::Data(LaneId(second)));
        }
        if LaneHeader::parse(first.to_ne_bytes()).is_some() {
            return Ok(Self::Control);
        }
        if stun::is_message(u32::from_be(head), second, length) {
            return Ok(Self::Stun);
        }
        Err(malformed)
    }
}
