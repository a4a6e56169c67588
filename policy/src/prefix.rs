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

    /// The prefix of this length that holds the address; `length` is of the address's own family.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Self {
        let common = length.saturating_add(if address.is_ipv4() { Self::V4.length } else { 0 });
        Self::host(address).widened(common.min(128))
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

    /// The order of address sets: IPv4 first, so that families never interleave.
    pub(crate) const fn order(&self) -> (bool, u128, u8) {
        (!self.is_v4(), self.bits, self.length)
    }

    /// Whether this is one address.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.length == 128
    }

    /// The first number under it.
    pub(crate) const fn first(&self) -> u128 {
        self.bits
    }

    /// The last number under it.
    pub(crate) const fn last(&self) -> u128 {
        self.bits | !self.mask()
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        unmapped(self.bits)
    }

    /// The length as it is written, in the address's own family.
    #[must_use]
    pub const fn written_length(&self) -> u8 {
        if self.is_v4() { self.length - Self::V4.length } else { self.length }
    }

    /// The prefix of this length that holds this one; `length` is of the common space, and at most
    /// this one's.
    pub(crate) const fn widened(&self, length: u8) -> Self {
        let wider = Self { bits: self.bits, length };
        Self { bits: self.bits & wider.mask(), length }
    }

    /// The prefix of which this and `next` are the halves.
    pub(crate) const fn joined(&self, next: &Self) -> Option<Self> {
        if self.length == 0 || self.length != next.length || self.is_v4() != next.is_v4() {
            return None;
        }
        let both = self.widened(self.length - 1);
        let halves = self.bits == both.bits && next.bits != self.bits && both.covers(next.bits);
        if halves && both.is_v4() == self.is_v4() { Some(both) } else { None }
    }

    /// The fewest prefixes, in order, that hold all that this one does but the address.
    pub(crate) fn without(&self, address: IpAddr) -> Vec<Self> {
        let host = Self::host(address);
        let halves = (self.length + 1..=host.length).map(|length| {
            let bit = 1 << (128 - length);
            Self { bits: host.widened(length).bits ^ bit, length }
        });
        let mut halves: Vec<Self> = halves.collect();
        halves.sort_unstable_by_key(Self::order);
        halves
    }

    /// Whether every address of `other` is one of this prefix.
    #[must_use]
    pub const fn holds(&self, other: &Self) -> bool {
        self.is_v4() == other.is_v4() && self.encloses(other)
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
        match self.address() {
            address if self.is_host() => write!(f, "{address}"),
            address => write!(f, "{address}/{}", self.written_length()),
        }
    }
}

/// The fewest prefixes that cover just the addresses from `first` to `last`, which are of one
/// family and in order.
pub(crate) fn spanning(first: IpAddr, last: IpAddr) -> Vec<Prefix> {
    let (first, last) = (mapped(first), mapped(last));
    if first < Prefix::V4.first() && Prefix::V4.last() < last {
        // An IPv6 range leaves out the block of mapped IPv4 addresses.
        let mut prefixes = blocks(first, Prefix::V4.first() - 1);
        prefixes.extend(blocks(Prefix::V4.last() + 1, last));
        return prefixes;
    }
    blocks(first, last)
}

fn blocks(mut next: u128, last: u128) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    loop {
        // The largest block that begins here and ends within the range.
        let aligned = next.trailing_zeros();
        let left = (last - next).saturating_add(1);
        let free = if next == 0 && last == u128::MAX { 128 } else { aligned.min(left.ilog2()) };
        let length = u8::try_from(128 - free).unwrap_or(128);
        let prefix = Prefix { bits: next, length };
        prefixes.push(prefix);
        match prefix.last().checked_add(1) {
            Some(after) if after <= last => next = after,
            Some(_) | None => return prefixes,
        }
    }
}

/// The address of a number in the common space.
pub(crate) fn unmapped(bits: u128) -> IpAddr {
    let v6 = Ipv6Addr::from_bits(bits);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// The number of an address in the common space.
pub(crate) fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
