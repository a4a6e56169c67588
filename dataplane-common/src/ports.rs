//! What the hash of a policy says of ports.
//!
//! Between an identity and a class, each protocol's ports belong to disjoint prefixes. A single
//! prefix stands in the [`Ports`] themselves. Several are found by a binary search over their lengths
//! (after Waldvogel): where the way to a longer prefix leads past a length, a signpost stands there.
//! As no two prefixes overlap, a step never has to be taken back.

use crate::RuleIndex;

/// What a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Ruling(u32);

const DENIES: u32 = 1 << 31;

impl Ruling {
    /// The rule allows it.
    #[inline(always)]
    #[must_use]
    pub const fn allow(rule: RuleIndex) -> Self {
        Self(rule.0)
    }

    /// The rule forbids it.
    #[inline(always)]
    #[must_use]
    pub const fn deny(rule: RuleIndex) -> Self {
        Self(rule.0 | DENIES)
    }

    /// Whether it allows.
    #[inline(always)]
    #[must_use]
    pub const fn allows(self) -> bool {
        self.0 & DENIES == 0
    }

    /// Whose ruling it is.
    #[inline(always)]
    #[must_use]
    pub const fn rule(self) -> RuleIndex {
        RuleIndex(self.0 & !DENIES)
    }

    /// The ruling as a number below 2^32.
    #[inline(always)]
    #[must_use]
    pub const fn to_number(self) -> u64 {
        self.0 as u64
    }

    /// The ruling of this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self((number & 0xffff_ffff) as u32)
    }
}

/// What is between an identity and a class for one protocol: the value of
/// [`ExactKey::ports`](crate::ExactKey::ports).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ports(pub u64);

const SEVERAL: u64 = 1 << 63;

impl Ports {
    /// One prefix of ports: those that share the leading `bits` (0 to 16) of `port`.
    #[must_use]
    pub const fn one(port: u16, bits: u8, ruling: Ruling) -> Self {
        Self((bits as u64) << 48 | (port as u64) << 32 | ruling.to_number())
    }

    /// Several prefixes, whose lengths are within this span.
    #[must_use]
    pub const fn several(span: Span) -> Self {
        Self(SEVERAL | (span.longest as u64) << 8 | span.shortest as u64)
    }

    /// The lengths to search; none if there is but one prefix.
    #[inline(always)]
    #[must_use]
    pub const fn span(self) -> Option<Span> {
        if self.0 & SEVERAL == 0 {
            return None;
        }
        let shortest = (self.0 & 0xff) as u32;
        let longest = ((self.0 >> 8) & 0xff) as u32;
        Some(Span { shortest, longest })
    }

    /// The ruling of the one prefix, if it covers the port.
    #[inline(always)]
    #[must_use]
    pub const fn ruling(self, port: u16) -> Option<Ruling> {
        let (bits, first) = ((self.0 >> 48) & 0x1f, (self.0 >> 32) & 0xffff);
        let differs = (port as u64 ^ first) >> (16 - bits);
        if differs == 0 { Some(Ruling::from_number(self.0)) } else { None }
    }
}

/// The lengths among which the prefix that covers a port must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From this one, at least 1.
    pub shortest: u32,
    /// To this one, at most 16.
    pub longest: u32,
}

/// The value of a length where nothing ends but longer prefixes begin.
pub const SIGNPOST: u64 = 1 << 32;

impl Span {
    /// The length to look at next; none when the search is over.
    #[inline(always)]
    #[must_use]
    pub const fn middle(&self) -> Option<u32> {
        if self.shortest > self.longest {
            return None;
        }
        // Masked, for the kernel's verifier: no length is above 16.
        Some(((self.shortest + self.longest) >> 1) & 0x1f)
    }

    /// What is left when there was a signpost at `length`.
    #[inline(always)]
    pub const fn go_longer(&mut self, length: u32) {
        self.shortest = length + 1;
    }

    /// What is left when there was nothing at `length`.
    #[inline(always)]
    pub const fn go_shorter(&mut self, length: u32) {
        self.longest = length - 1;
    }
}
