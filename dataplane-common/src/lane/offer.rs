//! Load for a switch: frames of many lanes, made of one.

use super::{
    Frame,
    bytes::{number, part, put},
    frame::place,
};

/// The headers of a lane's frame over IPv4, as words. No switch looks at the UDP checksum, so it is not
/// mended.
pub type OfferedHead = [u64; 7];

/// How many bytes of it are headers, and where port and lane are in them.
const LENGTH: usize = place::PAYLOAD_V4 + 8;
const PORT: usize = place::UDP_V4;
const LANE: usize = place::PAYLOAD_V4 + 4;

/// Makes the frame one of the lane whose number and port are so many behind those of the first, which
/// these headers are of. `None` if it has no room for them.
#[inline(always)]
pub fn offer<F: Frame>(frame: &mut F, first: OfferedHead, behind: u16) -> Option<()> {
    let head: &mut [u8; LENGTH] = frame.head_mut()?;
    let [words @ .., last] = first;
    for (at, word) in words.into_iter().enumerate() {
        put(head, 8 * at, word.to_ne_bytes());
    }
    let [a, b, ..] = last.to_ne_bytes();
    put(head, LENGTH - 2, [a, b]);
    let port = number(head, PORT).wrapping_add(behind);
    let lane = u32::from_be_bytes(part(head, LANE)).wrapping_add(behind.into());
    put(head, PORT, port.to_be_bytes());
    put(head, LANE, lane.to_be_bytes());
    Some(())
}
