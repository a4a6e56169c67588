//! What a datagram at a relay's port is, by its first bytes.

use crate::{DropReason, LaneId, stun};

/// How every lane message begins: neither STUN (`00......`), nor TURN's channel data (`01......`),
/// nor WireGuard (1 to 4).
pub const MAGIC: [u8; 3] = [0xb7, 0x6e, 0x77];

const MAGIC_NUMBER: u32 = u32::from_be_bytes([0, MAGIC[0], MAGIC[1], MAGIC[2]]);

/// Magic, type, and the sender's lane id, most significant byte first.
pub const LANE_HEADER: u32 = 8;

/// The type of a message that is passed on; the payload is whatever the ends send each other.
const DATA: u32 = 0;
/// The last type that there is; those in between bind a lane and keep it alive.
const LAST: u32 = 7;

/// A datagram at the relay's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneMessage {
    /// For the other end of this lane.
    Data(LaneId),
    /// About a lane: for the relay itself.
    Control,
    /// A STUN message.
    Stun,
}

impl LaneMessage {
    /// What a UDP payload of this length is, by its first bytes; `None` where it has fewer.
    ///
    /// # Errors
    ///
    /// [`DropReason::LaneMalformed`] for what is none of them.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub fn parse(first: Option<[u8; 8]>, length: u32) -> Result<Self, DropReason> {
        let malformed = DropReason::LaneMalformed;
        let words = u64::from_be_bytes(first.ok_or(malformed)?);
        if length < LANE_HEADER {
            return Err(malformed);
        }
        let [magic_and_kind, id] = [(words >> 32) as u32, words as u32];
        if magic_and_kind >> 8 != MAGIC_NUMBER {
            let is_stun = stun::is_message(magic_and_kind, id, length);
            return if is_stun { Ok(Self::Stun) } else { Err(malformed) };
        }
        match magic_and_kind & 0xff {
            DATA => Ok(Self::Data(LaneId(id))),
            1..=LAST => Ok(Self::Control),
            _ => Err(malformed),
        }
    }
}
