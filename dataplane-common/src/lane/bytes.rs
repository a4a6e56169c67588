//! Parts of headers. With places that the compiler knows, each is one load or store of a word.

/// The `N` bytes at this place.
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(part) => *part,
        None => [0; N],
    }
}

/// The number at this place.
#[inline(always)]
pub(super) fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(part(bytes, at))
}

/// Overwrites what is at this place.
#[inline(always)]
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = new;
    }
}
