//! The little of an inner IP packet that a tunnel looks at: length and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A packet is padded with zeros to a multiple of this, in bytes, before it is sealed, so that its
/// exact length does not show (WireGuard paper, section 5.4.6).
pub const PADDING: usize = 16;

/// What the header of a whole IP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// The length of the packet, headers included; never more than there are bytes.
    pub(crate) len: usize,
}

/// Reads the header of an IP packet that is wholly there; `None` if it is anything else.
pub(crate) fn parse(packet: &[u8]) -> Option<IpHeader> {
    let (source, destination, len) = match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let len = usize::from(be16(header, 2)?);
            (v4(header, 12)?, v4(header, 16)?, (len >= header.len()).then_some(len)?)
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            let len = usize::from(be16(header, 4)?) + header.len();
            (v6(header, 8)?, v6(header, 24)?, len)
        }
        _ => return None,
    };
    (len <= packet.len()).then_some(IpHeader { source, destination, len })
}

/// Source and destination of a whole IP packet; `None` if it is anything else.
#[must_use]
pub fn inner_addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    parse(packet).map(|header| (header.source, header.destination))
}

/// The length of a packet of `len` bytes once padded, on a tunnel of this MTU: padding never makes
/// a packet longer than the MTU lets it be.
pub(crate) fn padded_len(len: usize, mtu: usize) -> usize {
    let padded = len.next_multiple_of(PADDING);
    // A packet above the MTU (the MTU shrank meanwhile) is padded as the kernel does: by what
    // its last MTU-sized part needs.
    if len > mtu && mtu > 0 {
        let last = len % mtu;
        return len - last + last.next_multiple_of(PADDING).min(mtu);
    }
    padded.min(mtu.max(len))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn padding_hides_the_length_and_fits(len in 1usize..1500, mtu in 576usize..1500) {
            let padded = padded_len(len, mtu);
            prop_assert!(padded >= len && padded < len + PADDING);
            if len <= mtu {
                prop_assert!(padded <= mtu);
                prop_assert!(padded.is_multiple_of(PADDING) || padded == mtu);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(header) = parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
            }
        }
    }

    #[test]
    fn an_empty_packet_is_a_keepalive_and_stays_empty() {
        assert_eq!(padded_len(0, 1420), 0);
    }
}
