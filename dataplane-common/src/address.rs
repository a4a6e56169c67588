//! One address type for both families, so that nothing above it needs a twin.

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

    /// Whether this is the mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _, _, _] = self.0;
        (a | b | c | d | e | f | g | h | i | j) == 0 && (k & l) == 0xff
    }
}
