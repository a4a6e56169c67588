//! Address prefixes of both families in one space.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A prefix of IPv6 addresses, or of IPv4 addresses in their mapped form. No prefix holds
/// addresses of both: `::/0` covers the mapped block in number only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    bits: u128,
    length: u8,
}

impl Prefix {
    /// Every IPv4 address.
    pub const V4: Self = Self { bits: 0xffff_0000_0000, length: 96 };
    /// Every IPv6 address.
    pub const V6: Self = Self { bits: 0, length: 0 };

    /// The prefix of `length` leading bits, counted in the address's own family; none if the
    /// length is too large, or if bits beyond it are set.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (bits, length) = match address {
            IpAddr::V4(v4) if length <= 32 => (v4.to_ipv6_mapped().to_bits(), length + 96),
            IpAddr::V6(v6) if length <= 128 => (v6.to_bits(), length),
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        let prefix = Self { bits, length };
        (bits & !prefix.mask() == 0).then_some(prefix)
    }

    /// The one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { bits: mapped(address), length: 128 }
    }

    /// The first address, IPv4 in mapped form.
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        self.bits.to_be_bytes()
    }

    /// The length in the common space: 96 more than written, for IPv4.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether these are IPv4 addresses.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.length >= Self::V4.length && self.bits & Self::V4.mask() == Self::V4.bits
    }

    /// Whether the address is of this family and under this prefix.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_v4() == address.is_ipv4() && self.covers(mapped(address))
    }

    /// Whether every number under `other` is under this one too, whatever the family.
    pub(crate) const fn encloses(&self, other: &Self) -> bool {
        self.length <= other.length && self.covers(other.bits)
    }

    pub(crate) const fn covers(&self, bits: u128) -> bool {
        bits & self.mask() == self.bits
    }

    const fn mask(&self) -> u128 {
        match self.length {
            0 => 0,
            length => u128::MAX << (128 - length),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = Ipv6Addr::from_bits(self.bits);
        match v6.to_ipv4_mapped() {
            Some(v4) if self.is_v4() => write!(f, "{v4}/{}", self.length - 96),
            Some(_) | None => write!(f, "{v6}/{}", self.length),
        }
    }
}

/// The number of an address in the common space.
pub(crate) fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
