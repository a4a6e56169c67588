//! One address type for both families, so that nothing above it needs a twin.

use core::net::{IpAddr, Ipv6Addr};

use crate::words::{join, split};

/// An IPv6 address, or an IPv4 address in its mapped form (`::ffff:a.b.c.d`).
///
/// The parser refuses IPv6 headers that carry a mapped address, so the two never meet. Words whose
/// bytes are in the order of the wire, because the kernel's machine would copy bytes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Address([u64; 2]);

const _: () = assert!(size_of::<Address>() == 16);

/// What comes before an IPv4 address in its mapped form, behind eight bytes of zero.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// The address of an IPv4 host.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(v4))
    }

    /// The address of an IPv4 host, as it lies in a packet.
    #[inline(always)]
    pub(crate) const fn from_v4_word(word: u32) -> Self {
        Self([0, join(MAPPED, word)])
    }

    /// The address of these bytes.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// The address in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
            (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The address of two words.
    #[inline(always)]
    pub(crate) const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The address in two words.
    #[inline(always)]
    pub(crate) const fn to_words(self) -> [u64; 2] {
        self.0
    }

    /// Whether this is the mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && split(self.0[1]).0 == MAPPED
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_bytes(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.to_bytes()).to_canonical()
    }
}
