//! The FINGERPRINT attribute: CRC-32, so that STUN is told from what only looks like it.

use super::LONGEST_REQUEST;
use crate::PacketBytes;

/// "STUN".
const MASK: u32 = 0x5354_554e;

/// The attribute's value for the message of this length at `offset`, which is a multiple of four.
#[inline(always)]
pub(super) fn of_packet<P: PacketBytes + ?Sized>(packet: &P, offset: u32, length: u32) -> [u8; 4] {
    let mut crc = u32::MAX;
    for word in 0..LONGEST_REQUEST / 4 {
        if word * 4 >= length {
            break;
        }
        let Some(bytes) = packet.read::<4>(offset + word * 4) else { break };
        crc = step(crc ^ u32::from_le_bytes(bytes));
    }
    (!crc ^ MASK).to_be_bytes()
}

/// The same for a message in memory, up to where the attribute is to stand.
#[must_use]
pub fn of_message(message: &[u8]) -> [u8; 4] {
    let (words, _) = message.as_chunks::<4>();
    let crc = words.iter().fold(u32::MAX, |crc, word| step(crc ^ u32::from_le_bytes(*word)));
    (!crc ^ MASK).to_be_bytes()
}

/// Four bytes at once. So an index is masked after the words were joined, which Linux 6.1 takes for
/// a bound; of two bytes that are joined it knows none.
#[inline(always)]
fn step(joined: u32) -> u32 {
    let at = |shift: u32| ((joined >> shift) & 0xff) as usize;
    TABLES[3][at(0)] ^ TABLES[2][at(8)] ^ TABLES[1][at(16)] ^ TABLES[0][at(24)]
}

/// What a byte makes of the sum and, in the next ones, what it has become bytes later.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut later = 1;
    while later < 4 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        later += 1;
    }
    tables
}
