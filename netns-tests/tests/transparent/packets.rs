//! Single packets with everything that IP knows, compared byte by byte at the other end.
//!
//! Plain TCP and UDP are in `forwarded`: their checksums are finished only where they leave a host.

use anyhow::{Context as _, Result};
use netns_tests::wireguard::{INNER_B, Implementation, wired_hosts};
use netns_tests::{Family, Lab};

use crate::packet::{AS_IT_IS, Header, TCP, UDP, payload};
use crate::{SOON, talking};

/// For experiments (RFC 3692); nobody takes it for anything.
const EXPERIMENT: u8 = 253;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
/// Hop-by-hop, routing, fragment and destination headers of IPv6.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Sends each of them from ours to each implementation, and sees it come out.
fn all_pass(name: &str, packets: &[Vec<u8>]) -> Result<()> {
    for theirs in Implementation::ALL {
        let lab = Lab::new(name)?;
        let hosts = wired_hosts(&lab)?;
        let [a, b] = talking(&hosts, theirs)?;
        for (family, version) in [(Family::V4, 4), (Family::V6, 6)] {
            let writer = hosts[0].writer(a.name(), family)?;
            let mut seen = hosts[1].sniff(b.name(), family)?;
            for packet in packets.iter().filter(|packet| packet[0] >> 4 == version) {
                writer.write(&AS_IT_IS, packet)?;
                let came = seen.next(SOON, |_| true);
                let came = came.with_context(|| format!("{theirs:?}: {packet:02x?}"))?;
                assert_eq!(came, *packet, "{theirs:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_length_and_class_and_lifetime() -> Result<()> {
    let mut packets = Vec::new();
    for far in INNER_B {
        let header = Header::to(far, EXPERIMENT);
        // As long as the MTU is the last.
        for len in (0..40).chain([1000, 1372, 1379, 1380]) {
            packets.push(header.packet(&payload(len)));
        }
        for class in [0x01, 0x02, 0x03, 0x20, 0xb8, 0xff] {
            packets.push(Header { class, ..header.clone() }.packet(&payload(64)));
        }
        for hops in [0, 1, 2, 63, 128, 255] {
            packets.push(Header { hops, ..header.clone() }.packet(&payload(64)));
        }
    }
    all_pass("lengths", &packets)
}

#[test]
fn fragments() -> Result<()> {
    let whole = payload(2000);
    let mut packets = Vec::new();
    for protocol in [TCP, UDP, EXPERIMENT] {
        let v4 = Header::to(INNER_B[0], protocol);
        // Eight bytes are the unit of an offset; the last piece first, as some systems send.
        for (fragment, piece) in [
            (1000 / 8, &whole[1000..]),
            (MORE_FRAGMENTS, &whole[..1000]),
            (MORE_FRAGMENTS | DONT_FRAGMENT, &whole[..8]),
            (DONT_FRAGMENT, &whole[..800]),
            // As far out as an offset can say.
            (0x1fff, &whole[..7]),
        ] {
            if protocol == EXPERIMENT || fragment != DONT_FRAGMENT {
                packets.push(Header { fragment, ..v4.clone() }.packet(piece));
            }
        }
        for (offset, piece) in
            [(1000 | 1, &whole[..1000]), (1000, &whole[1000..]), (0, &whole[..9])]
        {
            let [high, low] = u16::to_be_bytes(offset);
            let options = vec![protocol, 0, high, low, 0xde, 0xad, 0xbe, 0xef];
            let v6 = Header::to(INNER_B[1], protocol);
            packets.push(Header { options, extension: FRAGMENT, ..v6 }.packet(piece));
        }
    }
    all_pass("fragments", &packets)
}

#[test]
fn options_and_extension_headers() -> Result<()> {
    let mut packets = Vec::new();
    for options in [
        vec![1, 1, 1, 0],
        // Record route, timestamps, router alert, and one that nobody knows; then all there is room for.
        vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![148, 4, 0, 0],
        vec![0x9e, 4, 0xab, 0xcd],
        vec![1; 40],
    ] {
        let header =
            |protocol| Header { options: options.clone(), ..Header::to(INNER_B[0], protocol) };
        packets.push(header(EXPERIMENT).packet(&payload(100)));
        packets.push(header(UDP).udp(&payload(101)));
        packets.push(header(TCP).tcp(7, 0x10, &payload(102)));
    }
    for (extension, body) in [
        (HOP_BY_HOP, [5, 2, 0, 0, 1, 0]),
        (DESTINATION, [1, 4, 0, 0, 0, 0]),
        (DESTINATION, [0x1e, 4, 1, 2, 3, 4]),
        // A routing header with nothing left to visit.
        (ROUTING, [4, 0, 0, 0, 0, 0]),
    ] {
        let header = |protocol: u8| {
            let options = [&[protocol, 0], &body[..]].concat();
            Header { options, extension, ..Header::to(INNER_B[1], protocol) }
        };
        packets.push(header(EXPERIMENT).packet(&payload(100)));
        packets.push(header(UDP).udp(&payload(101)));
        packets.push(header(TCP).tcp(7, 0x10, &payload(102)));
    }
    all_pass("options", &packets)
}

#[test]
fn other_protocols() -> Result<()> {
    let mut packets = Vec::new();
    for far in INNER_B {
        // IPv4 and IPv6 in IP, GRE, ESP, AH, SCTP, UDP-Lite, and what has no number yet.
        for protocol in [4, 41, 47, 50, 51, 132, 136, 200] {
            packets.push(Header::to(far, protocol).packet(&payload(333)));
        }
    }
    // A datagram whose sender wants no checksum, and headers that are cut short.
    let header = Header::to(INNER_B[0], UDP);
    packets
        .push(header.packet(&[&[0x30, 0x39, 0x30, 0x3a, 0, 12, 0, 0], &payload(4)[..]].concat()));
    packets.push(header.packet(&payload(5)));
    packets.push(Header::to(INNER_B[0], TCP).packet(&payload(11)));
    packets.push(Header::to(INNER_B[1], TCP).packet(&payload(13)));
    all_pass("protocols", &packets)
}
