//! An address in two words, for a machine that has few registers and little memory: nothing here
//! is taken apart byte by byte.

use super::Sum;
use crate::Address;

/// An [`Address`], in the machine's own byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Words {
    high: u64,
    low: u64,
}

const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const PREFIX: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
/// Where an IPv4 address is in the low word.
const SHIFT: u32 = if cfg!(target_endian = "little") { 32 } else { 0 };

impl Words {
    pub(crate) const NONE: Self = Self { high: 0, low: 0 };

    #[inline(always)]
    pub(crate) const fn from_v4(v4: [u8; 4]) -> Self {
        Self { high: 0, low: MAPPED | ((u32::from_ne_bytes(v4) as u64) << SHIFT) }
    }

    #[inline(always)]
    pub(crate) const fn from_halves(high: [u8; 8], low: [u8; 8]) -> Self {
        Self { high: u64::from_ne_bytes(high), low: u64::from_ne_bytes(low) }
    }

    #[inline(always)]
    pub(crate) const fn is_v4(self) -> bool {
        self.high == 0 && self.low & PREFIX == MAPPED
    }

    /// Zero if both are one: one branch for many.
    #[inline(always)]
    pub(crate) const fn differs(self, other: Self) -> u64 {
        (self.high ^ other.high) | (self.low ^ other.low)
    }

    /// The IPv4 address, if it is one.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the word's half")]
    pub(crate) const fn v4(self) -> [u8; 4] {
        ((self.low >> SHIFT) as u32).to_ne_bytes()
    }

    /// Both halves, as on the wire.
    #[inline(always)]
    pub(crate) const fn halves(self) -> [[u8; 8]; 2] {
        [self.high.to_ne_bytes(), self.low.to_ne_bytes()]
    }

    #[inline(always)]
    pub(crate) const fn sum(self) -> Sum {
        Sum::new().long(self.high).long(self.low)
    }

    #[inline(always)]
    pub(crate) const fn address(self) -> Address {
        Address::from_words([self.high, self.low])
    }
}

/// Source and destination of an IPv4 header, as on the wire: one load, one comparison, one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct V4Pair(u64);

impl V4Pair {
    /// Of no datagram.
    pub(crate) const NONE: Self = Self(0);

    #[inline(always)]
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_ne_bytes(bytes))
    }

    /// That of these two; none if they are not IPv4.
    pub(crate) const fn of(source: Words, destination: Words) -> Self {
        if !source.is_v4() || !destination.is_v4() {
            return Self::NONE;
        }
        let ([a, b, c, d], [e, f, g, h]) = (source.v4(), destination.v4());
        Self::from_bytes([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    pub(crate) const fn to_bytes(self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }

    #[inline(always)]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Zero if both are one.
    #[inline(always)]
    pub(crate) const fn differs(self, other: Self) -> u64 {
        self.0 ^ other.0
    }

    #[inline(always)]
    pub(crate) const fn source(self) -> Words {
        let [a, b, c, d, ..] = self.to_bytes();
        Words::from_v4([a, b, c, d])
    }

    #[inline(always)]
    pub(crate) const fn destination(self) -> Words {
        let [.., a, b, c, d] = self.to_bytes();
        Words::from_v4([a, b, c, d])
    }
}

impl From<Address> for Words {
    fn from(address: Address) -> Self {
        let [high, low] = address.to_words();
        Self { high, low }
    }
}
