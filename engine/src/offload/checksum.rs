//! The Internet checksum (RFC 1071).

/// The Internet checksum of some bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    finish(add(0, bytes))
}

/// Adds bytes to a sum. Only the last part of what is summed may have an odd length.
pub(crate) fn add(sum: u64, bytes: &[u8]) -> u64 {
    // One's complement addition does not care for the order of bytes (RFC 1071, section 2B): words
    // are read in the machine's, and the folded sum is swapped once. Four lanes, so that no carry
    // waits for another.
    let mut lanes = [0u64; 4];
    let mut chunks = bytes.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
            let word = word.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
            let (sum, carry) = lane.overflowing_add(word);
            *lane = sum + u64::from(carry);
        }
    }
    let mut sum = lanes.into_iter().fold(fold(sum), |sum, lane| sum + fold(lane));
    for pair in chunks.remainder().chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u64::from(u16::from_ne_bytes(word));
    }
    sum
}

/// The checksum of a sum, as it is written into a header.
pub(crate) fn finish(sum: u64) -> [u8; 2] {
    (!folded(sum)).to_ne_bytes()
}

/// The sum without the final complement, as a header holds it whose checksum is to be completed.
pub(crate) fn partial(sum: u64) -> [u8; 2] {
    folded(sum).to_ne_bytes()
}

/// The sum of the pseudo-header of TCP or UDP: both addresses, protocol, length.
pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    add(add(0, addresses), &[len[0], len[1], len[2], len[3], 0, protocol])
}

const fn fold(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

fn folded(sum: u64) -> u16 {
    let mut sum = fold(fold(sum));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the RFC says it, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded")
    }

    proptest! {
        #[test]
        fn equals_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            let cut = (cut * 2).min(bytes.len());
            let sum = add(add(0, &bytes[..cut]), &bytes[cut..]);
            let plain = plain(&bytes);
            let ours = u16::from_be_bytes(finish(sum));
            // Zero has two forms, and all zeros is the one case in which they differ here.
            prop_assert!(ours == plain || (bytes.iter().all(|&byte| byte == 0)));
        }
    }
}
