//! Networks and whose they are, as one longest-prefix-match table for both families.

use crate::PacketBytes;

/// The data that the table compares: the family, then the address, most significant bit first.
///
/// The family comes first because a default route of one must not catch the other's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct NetworkKey(pub [u8; 20]);

const _: () = assert!(size_of::<NetworkKey>() == 20);

/// A network: a prefix of [`NetworkKey`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkPrefix {
    /// The bits; the rest is zero.
    pub key: NetworkKey,
    /// How many leading bits count.
    pub bits: u32,
}

/// The most networks that the kernel's table holds. It takes memory only for those that are there.
pub const MAX_NETWORKS: u32 = 1 << 20;

const FAMILY_BITS: u32 = 32;

impl NetworkPrefix {
    /// The IPv4 network `address/length`, of whose address only the network's own bits are set.
    #[inline(always)]
    #[must_use]
    pub const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Self {
        Self::of_family(4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length)
    }

    /// The IPv6 network `address/length`, of whose address only the network's own bits are set.
    #[inline(always)]
    #[must_use]
    pub const fn v6(address: [u8; 16], length: u8) -> Self {
        Self::of_family(6, address, length)
    }

    /// Where an IP packet goes, as a network of one host; `None` if it is not IP.
    #[inline(always)]
    #[must_use]
    pub fn destination<P: PacketBytes + ?Sized>(packet: &P) -> Option<Self> {
        let [version] = packet.read(0)?;
        match version >> 4 {
            4 => Some(Self::v4(packet.read(16)?, 32)),
            6 => Some(Self::v6(packet.read(24)?, 128)),
            _ => None,
        }
    }

    #[inline(always)]
    const fn of_family(family: u8, address: [u8; 16], length: u8) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        let key = [0, 0, 0, family, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
        Self { key: NetworkKey(key), bits: FAMILY_BITS + length as u32 }
    }
}
