//! One address type for both families, so that nothing above it needs a twin.

use core::net::{IpAddr, Ipv6Addr};

/// An IPv6 address, or an IPv4 address in its mapped form (`::ffff:a.b.c.d`).
///
/// The parser refuses IPv6 headers that carry a mapped address, so the two never meet. Aligned,
/// because the kernel's machine cannot copy unaligned words and would go byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C, align(8))]
pub struct Address(pub [u8; 16]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// The address of an IPv4 host.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        let [a, b, c, d] = v4;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The address of two words.
    #[inline(always)]
    pub(crate) const fn from_words([high, low]: [u64; 2]) -> Self {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
            (high.to_ne_bytes(), low.to_ne_bytes());
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The address in two words.
    #[inline(always)]
    pub(crate) const fn to_words(self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
    }

    /// Whether this is the mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _, _, _] = self.0;
        (a | b | c | d | e | f | g | h | i | j) == 0 && (k & l) == 0xff
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.0).to_canonical()
    }
}
