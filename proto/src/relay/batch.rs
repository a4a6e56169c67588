//! Datagrams that travel together.

use crate::bytes::Reader;

/// The longest payload of a data frame, in bytes.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;
/// The most datagrams of a batch: what the kernel cuts in one send.
pub const MAX_SEGMENTS: usize = 64;

/// Datagrams of one length, one after the other; the last may be shorter. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    segment: u16,
}

impl<'a> Batch<'a> {
    /// A batch of datagrams of `segment` bytes; `None` if that breaks a limit.
    #[must_use]
    pub fn new(bytes: &'a [u8], segment: usize) -> Option<Self> {
        let fits = bytes.len() <= MAX_PAYLOAD && (1..=bytes.len()).contains(&segment);
        if !fits || bytes.len().div_ceil(segment) > MAX_SEGMENTS {
            return None;
        }
        Some(Self { bytes, segment: u16::try_from(segment).ok()? })
    }

    /// A single datagram; `None` if it is empty or too long.
    #[must_use]
    pub fn single(datagram: &'a [u8]) -> Option<Self> {
        Self::new(datagram, datagram.len())
    }

    /// All bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The length of each datagram but the last.
    #[must_use]
    pub const fn segment(&self) -> usize {
        self.segment as usize
    }

    /// The datagrams.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.bytes.chunks(self.segment())
    }

    /// The batch cut into such as are at most `limit` bytes; `None` if one datagram is longer.
    pub fn within(&self, limit: usize) -> Option<impl Iterator<Item = Self> + use<'a>> {
        let segment = self.segment();
        let each = limit.checked_div(segment)?.checked_mul(segment).filter(|&each| each > 0)?;
        Some(self.bytes.chunks(each).map(move |bytes| Self {
            bytes,
            segment: u16::try_from(segment.min(bytes.len())).unwrap_or(u16::MAX),
        }))
    }

    pub(crate) fn read(mut reader: Reader<'a>) -> Option<Self> {
        let segment = reader.u16()?;
        Self::new(reader.rest(), segment.into())
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.segment.to_be_bytes());
        to.extend_from_slice(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cutting_loses_nothing(
            len in 1..5000_usize, segment in 1..1500_usize, limit in 0..3000_usize,
        ) {
            let bytes: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let Some(batch) = Batch::new(&bytes, segment) else {
                prop_assert!(segment > len || len.div_ceil(segment) > MAX_SEGMENTS);
                return Ok(());
            };
            match batch.within(limit) {
                None => prop_assert!(limit < segment),
                Some(cut) => {
                    let cut: Vec<_> = cut.collect();
                    prop_assert!(cut.iter().all(|batch| batch.bytes().len() <= limit));
                    let again: Vec<_> = cut.iter().flat_map(Batch::datagrams).collect();
                    prop_assert_eq!(again, batch.datagrams().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn limits_hold() {
        let bytes = vec![0; MAX_PAYLOAD + 1];
        assert!(Batch::single(&[]).is_none());
        assert!(Batch::single(&bytes).is_none());
        assert!(Batch::single(&bytes[1..]).is_some());
        assert!(Batch::new(&bytes[..640], 10).is_some());
        assert!(Batch::new(&bytes[..641], 10).is_none());
        assert!(Batch::new(&bytes[..10], 11).is_none());
        assert!(Batch::new(&bytes[..10], 0).is_none());
    }
}
