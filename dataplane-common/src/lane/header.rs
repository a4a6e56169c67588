//! What a datagram at a relay's port is, by its first bytes.

use crate::{DropReason, LaneId, stun};

/// How every lane message begins: neither STUN (`00......`), nor TURN's channel data (`01......`),
/// nor WireGuard (1 to 4).
pub const MAGIC: [u8; 3] = [0xb7, 0x6e, 0x77];

/// Magic, type, and the sender's lane id, most significant byte first.
pub const LANE_HEADER: u32 = 8;

/// The type of a message that is passed on; the payload is whatever the ends send each other.
const DATA: u8 = 0;
/// The other types, which bind a lane and keep it alive.
const FIRST: u8 = 1;
const LAST: u8 = 7;

const DATA_HEAD: u32 = u32::from_ne_bytes([MAGIC[0], MAGIC[1], MAGIC[2], DATA]);

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
    pub fn parse(first: Option<[u8; 8]>, length: u32) -> Result<Self, DropReason> {
        let malformed = DropReason::LaneMalformed;
        let [head @ .., a, b, c, d] = first.ok_or(malformed)?;
        let second = u32::from_be_bytes([a, b, c, d]);
        if length < LANE_HEADER {
            return Err(malformed);
        }
        // One comparison for what nearly all datagrams are.
        if u32::from_ne_bytes(head) == DATA_HEAD {
            return Ok(Self::Data(LaneId(second)));
        }
        match head {
            [a, b, c, FIRST..=LAST] if [a, b, c] == MAGIC => Ok(Self::Control),
            _ if stun::is_message(u32::from_be_bytes(head), second, length) => Ok(Self::Stun),
            _ => Err(malformed),
        }
    }
}
