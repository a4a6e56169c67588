//! Explicit congestion notification through the tunnel (RFC 6040, normal mode).
//!
//! Out, the datagram is marked as the packet inside is, so that a router can say "congested"
//! instead of dropping. In, what it said is copied to the packet inside.

use dataplane_common::DropReason;

use crate::offload::checksum;

/// The two bits of an IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The transport does not react to marks (Not-ECT).
    #[default]
    NotCapable,
    /// ECT(1).
    Capable1,
    /// ECT(0).
    Capable0,
    /// A router was congested (CE).
    Congested,
}

impl Ecn {
    /// The lowest two bits of a TOS or traffic class byte.
    #[must_use]
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotCapable,
            1 => Self::Capable1,
            2 => Self::Capable0,
            _ => Self::Congested,
        }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// That of an IP packet.
    pub(crate) fn of_packet(packet: &[u8]) -> Self {
        match packet {
            [first, second, ..] if first >> 4 == 6 => Self::from_tos(second >> 4),
            [_, second, ..] => Self::from_tos(*second),
            _ => Self::NotCapable,
        }
    }
}

/// Copies what the network said of the datagram to the packet inside (RFC 6040, figure 4).
pub(crate) fn decapsulate(outer: Ecn, packet: &mut [u8]) -> Result<(), DropReason> {
    use Ecn::{Capable0, Capable1, Congested, NotCapable};
    // What most packets are: nothing to do.
    if outer == NotCapable {
        return Ok(());
    }
    match (Ecn::of_packet(packet), outer) {
        (NotCapable, Congested) => Err(DropReason::CongestedNotCapable),
        (Capable0, Capable1) => {
            mark(packet, Capable1);
            Ok(())
        }
        (Capable0 | Capable1, Congested) => {
            mark(packet, Congested);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Marks an IP packet.
pub(crate) fn mark(packet: &mut [u8], ecn: Ecn) {
    match packet {
        [first, second, ..] if *first >> 4 == 6 => *second = *second & 0xcf | ecn.bits() << 4,
        [first, ..] => {
            let header = usize::from(*first & 15) * 4;
            let Some(header) = packet.get_mut(..header).filter(|header| header.len() >= 20) else {
                return;
            };
            header[1] = header[1] & 0xfc | ecn.bits();
            header[10..12].fill(0);
            let sum = checksum::finish(checksum::add(0, header));
            header[10..12].copy_from_slice(&sum);
        }
        [] => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(v6: bool, ecn: Ecn) -> Vec<u8> {
        let mut packet = if v6 { vec![0x60; 40] } else { vec![0x45; 20] };
        packet[1] = 0xb8;
        if v6 {
            packet[0] = 0x6b;
            packet[1] = 0x80;
        }
        mark(&mut packet, ecn);
        packet
    }

    #[test]
    fn follows_the_table_of_the_rfc() {
        use Ecn::{Capable0 as E0, Capable1 as E1, Congested as Ce, NotCapable as No};
        // Rows: inside; columns: outside, in this order.
        let outers = [No, E0, E1, Ce];
        let table = [
            (No, [Some(No), Some(No), Some(No), None]),
            (E0, [Some(E0), Some(E0), Some(E1), Some(Ce)]),
            (E1, [Some(E1), Some(E1), Some(E1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for v6 in [false, true] {
            for (inner, row) in table {
                for (outer, wanted) in outers.into_iter().zip(row) {
                    let mut one = packet(v6, inner);
                    let done = decapsulate(outer, &mut one).ok();
                    assert_eq!(
                        done.map(|()| Ecn::of_packet(&one)),
                        wanted,
                        "{inner:?} in {outer:?}"
                    );
                    if wanted.is_some() {
                        let mut same = packet(v6, inner);
                        mark(&mut same, Ecn::of_packet(&one));
                        assert_eq!(one, same, "nothing else changes but the checksum");
                        let sum = checksum::finish(checksum::add(0, &one));
                        assert!(v6 || sum == [0, 0], "the header's checksum is right");
                    }
                }
            }
        }
    }
}
