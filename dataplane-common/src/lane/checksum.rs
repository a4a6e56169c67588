//! The internet checksum (RFC 1071), whole and by difference (RFC 1624).

/// A sum in ones' complement. Its words are in the machine's own byte order: the sum of swapped
/// words is the swapped sum, so only that both come from one machine matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Nothing yet.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    /// With this half-word, as it is on the wire.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn half(self, bytes: [u8; 2]) -> Self {
        Self(self.0 + u16::from_ne_bytes(bytes) as u64)
    }

    /// With this word, as it is on the wire.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn word(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + u32::from_ne_bytes(bytes) as u64)
    }

    /// With this number, most significant byte first.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn number(self, number: u16) -> Self {
        self.half(number.to_be_bytes())
    }

    /// With both halves of this, as it is on the wire.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn long(self, long: u64) -> Self {
        Self(self.0 + (long & 0xffff_ffff) + (long >> 32))
    }

    /// With another sum.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.fold() as u64)
    }

    /// Without another sum.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0 + !other.fold() as u64)
    }

    /// The sum in sixteen bits, which [`half`](Self::half) takes again as native bytes.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "after folding nothing is above")]
    pub(crate) const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum of what was summed, as it goes on the wire.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// As [`checksum`](Self::checksum) for UDP, where zero means that there is none.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn udp_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            bytes => bytes,
        }
    }

    /// A checksum in which so much has changed.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "after folding nothing is above")]
    pub(crate) const fn mended(checksum: [u8; 2], delta: u16) -> [u8; 2] {
        let sum = !u16::from_ne_bytes(checksum) as u32 + delta as u32;
        let sum = (sum & 0xffff) + (sum >> 16);
        (!(sum as u16)).to_ne_bytes()
    }
}
