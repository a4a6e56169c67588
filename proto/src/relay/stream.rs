//! Frames on a stream: each has its length in front.

use super::{DATA_HEADER_LEN, FrameError, MAX_PAYLOAD};
use crate::mesh::MESH_DATA_HEADER_LEN;

/// The longest frame, type and body, in bytes.
pub const MAX_FRAME: usize = DATA_HEADER_LEN + MAX_PAYLOAD;
/// The longest frame of one who is not admitted: a proof is the longest that has its place there.
const MAX_FRAME_BEFORE: usize = 256;
/// The longest frame between relays: packets, as notices are shorter.
const MAX_MESH_FRAME: usize = MESH_DATA_HEADER_LEN + MAX_PAYLOAD;
const LENGTH_LEN: usize = 4;

/// Which frames a stream may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Those by which a node asks for admission.
    Admission,
    /// All.
    Admitted,
    /// Those between relays.
    Mesh,
}

impl Framing {
    const fn limit(self) -> usize {
        match self {
            Self::Admission => MAX_FRAME_BEFORE,
            Self::Admitted => MAX_FRAME,
            Self::Mesh => MAX_MESH_FRAME,
        }
    }
}

/// The first frame of what a stream has brought so far, and the bytes that it took with its length.
/// `None` if the frame is not whole yet; too long a frame is refused by its length alone.
pub fn split_frame(stream: &[u8], framing: Framing) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some((length, rest)) = stream.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    match len {
        0 => Err(FrameError::Empty),
        len if len > framing.limit() => Err(FrameError::TooLong(len)),
        len => Ok(rest.get(..len).map(|frame| (frame, LENGTH_LEN + len))),
    }
}

/// Leaves room for the length of a frame that is written next; gives its place.
pub fn start_frame(stream: &mut Vec<u8>) -> usize {
    let start = stream.len();
    stream.extend([0; LENGTH_LEN]);
    start
}

/// Fills in the length of the frame that was started at `start` and ends here.
pub fn finish_frame(stream: &mut [u8], start: usize) {
    let len = u32::try_from(stream.len() - start - LENGTH_LEN).unwrap_or(u32::MAX);
    stream[start..start + LENGTH_LEN].copy_from_slice(&len.to_be_bytes());
}
