//! The FINGERPRINT attribute: CRC-32, so that STUN is told from what only looks like it.

use super::LONGEST_REQUEST;
use crate::PacketBytes;

/// The attribute's value for the message of this length at `offset`, which is a multiple of four.
#[inline(always)]
pub(super) fn of_packet<P: PacketBytes + ?Sized>(packet: &P, offset: u32, length: u32) -> [u8; 4] {
    let mut crc = START;
    for word in 0..LONGEST_REQUEST / 4 {
        if word * 4 >= length {
            break;
        }
        let Some(bytes) = packet.read::<4>(offset + word * 4) else { break };
        for byte in bytes {
            crc = step(crc, byte);
        }
    }
    end(crc)
}

const START: u32 = u32::MAX;

#[inline(always)]
fn step(crc: u32, byte: u8) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
}

#[inline(always)]
fn end(crc: u32) -> [u8; 4] {
    /// "STUN".
    const MASK: u32 = 0x5354_554e;
    (!crc ^ MASK).to_be_bytes()
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}
