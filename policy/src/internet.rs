//! What `autogroup:internet` means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{AddressSet, Prefix, prefix::spanning};

/// IPv4 blocks that are not on the public Internet, in order: this network, private, shared
/// (CGNAT), loopback, link-local, private, private, multicast, reserved.
const NOT_PUBLIC: [(Ipv4Addr, u8); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The IPv6 addresses that are handed out to be public.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Every public address.
pub(crate) fn internet() -> AddressSet {
    let mut prefixes = Vec::new();
    let mut next = 0;
    for (block, length) in NOT_PUBLIC {
        let first = block.to_bits();
        if next < first {
            let range = [next, first - 1].map(|bits| IpAddr::V4(bits.into()));
            prefixes.extend(spanning(range[0], range[1]));
        }
        next = (first | (u32::MAX >> length)).wrapping_add(1);
    }
    prefixes.extend(Prefix::new(PUBLIC_V6.0.into(), PUBLIC_V6.1));
    AddressSet::new(prefixes)
}

/// Whether the address is public, by its bits alone.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !NOT_PUBLIC.iter().any(|(block, length)| {
            (v4.to_bits() ^ block.to_bits()).leading_zeros() >= u32::from(*length)
        }),
        IpAddr::V6(v6) => {
            (v6.to_bits() ^ PUBLIC_V6.0.to_bits()).leading_zeros() >= u32::from(PUBLIC_V6.1)
        }
    }
}
