//! "Packet too big", told to a host whose packet is longer than the way to its peer carries: RFC 792
//! with RFC 1191, RFC 4443.

use dataplane_common::protocol;

use crate::offload::checksum;

/// What every IPv6 link has to carry (RFC 8200, section 5): no host goes below it.
const LEAST_V6: usize = 1280;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
/// The longest error over IPv4 (RFC 1812, section 4.3.2.3). One over IPv6 may have [`LEAST_V6`].
const LONGEST_V4: usize = 576;
const HOPS: u8 = 64;

/// The answer to a packet that is too long for a way of `mtu` bytes. None if it must be sent all the
/// same, in fragments underneath: if its sender lets it be cut, or could send no shorter.
pub(crate) fn too_big(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => too_big_v4(packet, mtu),
        6 => too_big_v6(packet, mtu),
        _ => None,
    }
}

fn too_big_v4(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    const DONT_FRAGMENT: u8 = 0x40;
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    let header = packet.first_chunk::<V4_HEADER>()?;
    let transport = usize::from(header[0] & 15) * 4;
    let is_error = header[9] == protocol::ICMP && !matches!(packet.get(transport), Some(0 | 8));
    if header[6] & DONT_FRAGMENT == 0 || is_error {
        return None;
    }
    let quoted = &packet[..packet.len().min(LONGEST_V4 - V4_HEADER - ICMP_HEADER)];
    let len = V4_HEADER + ICMP_HEADER + quoted.len();
    let mut error = Vec::with_capacity(len);
    error.extend([0x45, 0]);
    error.extend(short(len));
    error.extend([0, 0, 0, 0, HOPS, protocol::ICMP, 0, 0]);
    error.extend(&header[16..20]);
    error.extend(&header[12..16]);
    let sum = checksum::finish(checksum::add(0, &error));
    error[10..12].copy_from_slice(&sum);
    error.extend([UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0]);
    error.extend(short(mtu));
    error.extend(quoted);
    let sum = checksum::finish(checksum::add(0, &error[V4_HEADER..]));
    error[V4_HEADER + 2..V4_HEADER + 4].copy_from_slice(&sum);
    Some(error)
}

fn too_big_v6(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    const TOO_BIG: u8 = 2;
    const ECHO_REQUEST: u8 = 128;
    let header = packet.first_chunk::<V6_HEADER>()?;
    let is_error = header[6] == protocol::ICMPV6
        && packet.get(V6_HEADER).is_none_or(|&kind| kind < ECHO_REQUEST);
    if packet.len() <= LEAST_V6 || is_error {
        return None;
    }
    let quoted = &packet[..packet.len().min(LEAST_V6 - V6_HEADER - ICMP_HEADER)];
    let icmp = ICMP_HEADER + quoted.len();
    let mut error = Vec::with_capacity(V6_HEADER + icmp);
    error.extend([0x60, 0, 0, 0]);
    error.extend(short(icmp));
    error.extend([protocol::ICMPV6, HOPS]);
    error.extend(&header[24..40]);
    error.extend(&header[8..24]);
    error.extend([TOO_BIG, 0, 0, 0, 0, 0]);
    error.extend(short(mtu.max(LEAST_V6)));
    error.extend(quoted);
    let pseudo = checksum::pseudo_header(&error[8..V6_HEADER], protocol::ICMPV6, icmp);
    let sum = checksum::finish(checksum::add(pseudo, &error[V6_HEADER..]));
    error[V6_HEADER + 2..V6_HEADER + 4].copy_from_slice(&sum);
    Some(error)
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip;

    fn v4(len: usize, flags: u8, protocol: u8, kind: u8) -> Vec<u8> {
        let mut packet = vec![7; len];
        packet[..20].copy_from_slice(&[
            0x45, 0, 0, 0, 0, 1, flags, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        packet[2..4].copy_from_slice(&short(len));
        packet[20] = kind;
        packet
    }

    fn v6(len: usize, next: u8, kind: u8) -> Vec<u8> {
        let mut packet = vec![7; len];
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, next, 64]);
        packet[4..6].copy_from_slice(&short(len - 40));
        packet[8..24].fill(1);
        packet[24..40].fill(2);
        packet[40] = kind;
        packet
    }

    #[test]
    fn a_sender_of_ipv4_learns_what_fits() {
        let packet = v4(1400, 0x40, 6, 0);
        let error = too_big(&packet, 1220).unwrap();
        assert_eq!(error.len(), 576);
        let header = ip::parse(&error).unwrap();
        assert_eq!(
            (header.source.to_string(), header.destination.to_string()),
            ("10.0.0.2".into(), "10.0.0.1".into())
        );
        assert_eq!(error[20..22], [3, 4]);
        assert_eq!(error[26..28], 1220_u16.to_be_bytes());
        assert_eq!(error[28..], packet[..548]);
        for part in [&error[..20], &error[20..]] {
            assert_eq!(checksum::checksum(part), [0, 0]);
        }
    }

    #[test]
    fn a_sender_of_ipv6_learns_what_fits_and_never_less_than_it_must_take() {
        let packet = v6(1400, 6, 0);
        for (mtu, told) in [(1340, 1340_u16), (1200, 1280)] {
            let error = too_big(&packet, mtu).unwrap();
            assert_eq!(error.len(), 1280);
            assert_eq!((error[40], &error[46..48]), (2, &told.to_be_bytes()[..]));
            let sum = checksum::pseudo_header(&error[8..40], 58, error.len() - 40);
            assert_eq!(checksum::finish(checksum::add(sum, &error[40..])), [0, 0]);
        }
    }

    #[test]
    fn nobody_is_told_who_may_be_cut_or_could_send_no_shorter() {
        assert_eq!(too_big(&v4(1400, 0, 6, 0), 1220), None);
        assert_eq!(too_big(&v6(1280, 6, 0), 1220), None);
    }

    #[test]
    fn no_error_answers_an_error() {
        assert_eq!(too_big(&v4(1400, 0x40, 1, 3), 1220), None);
        assert!(too_big(&v4(1400, 0x40, 1, 8), 1220).is_some());
        assert_eq!(too_big(&v6(1400, 58, 1), 1300), None);
        assert!(too_big(&v6(1400, 58, 128), 1300).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000), mtu in 0usize..70_000) {
            if let Some(error) = too_big(&bytes, mtu) {
                prop_assert!(ip::parse(&error).is_some_and(|header| header.len == error.len()));
            }
        }
    }
}
