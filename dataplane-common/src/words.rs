//! Words of maps, as this machine orders their bytes.

/// The word of two halves, the first of which has the lower address.
#[inline(always)]
pub(crate) const fn join(first: u32, second: u32) -> u64 {
    let (first, second) = (first as u64, second as u64);
    if cfg!(target_endian = "little") { second << 32 | first } else { first << 32 | second }
}

/// The halves of a word.
#[inline(always)]
pub(crate) const fn split(word: u64) -> (u32, u32) {
    let (low, high) = ((word & 0xffff_ffff) as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
}

/// A zero that the compiler does not know. It would gather stores of known zeros into a call of
/// `memset`, which on the kernel's machine goes byte by byte.
#[inline(always)]
pub(crate) fn zero() -> u64 {
    core::hint::black_box(0)
}
