//! Super-packets cut on one side and joined on the other, through a session.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod pair;

use dataplane_common::DropReason;
use engine::offload::{Gso, VNET_HEADER_LEN, VnetHeader};
use engine::{Ecn, HostOffload, Output, PADDING, Packets};
use pair::{Node, Pair};
use proptest::prelude::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A flow's fixed parts.
#[derive(Clone, Copy, Debug)]
struct Kind {
    v6: bool,
    udp: bool,
    /// Bytes of TCP options, a multiple of four.
    options: usize,
}

impl Kind {
    fn transport(self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    fn header_len(self) -> usize {
        self.transport() + if self.udp { 8 } else { 20 + self.options }
    }

    fn gso(self) -> Gso {
        match (self.udp, self.v6) {
            (true, _) => Gso::Udp,
            (false, false) => Gso::Tcp4,
            (false, true) => Gso::Tcp6,
        }
    }

    /// A super-packet of `payload`, as the host makes it: lengths true, checksum not.
    fn super_packet(self, payload: &[u8], sequence: u32, flags: u8) -> Vec<u8> {
        let protocol = if self.udp { UDP } else { TCP };
        let transport_len = self.header_len() - self.transport() + payload.len();
        let mut packet = if self.v6 {
            let mut packet = pair::packet6(1, 2, &vec![0; transport_len]);
            packet[6] = protocol;
            packet
        } else {
            let mut packet = pair::packet(1, 2, &vec![0; transport_len]);
            packet[9] = protocol;
            packet
        };
        let header = &mut packet[self.transport()..];
        header[..4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        if self.udp {
            header[4..6].copy_from_slice(&u16::try_from(transport_len).unwrap().to_be_bytes());
        } else {
            header[4..8].copy_from_slice(&sequence.to_be_bytes());
            header[12] = u8::try_from((20 + self.options) / 4).unwrap() << 4;
            header[13] = flags;
            header[20..20 + self.options].fill(1);
        }
        packet[self.header_len()..].copy_from_slice(payload);
        packet
    }

    fn vnet(self, segment: usize) -> VnetHeader {
        VnetHeader {
            gso: Some(self.gso()),
            needs_checksum: true,
            header_len: u16::try_from(self.header_len()).unwrap(),
            segment: u16::try_from(segment).unwrap(),
            checksum_start: u16::try_from(self.transport()).unwrap(),
            checksum_offset: if self.udp { 6 } else { 16 },
        }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    (any::<bool>(), any::<bool>(), 0usize..=10).prop_map(|(v6, udp, words)| Kind {
        v6,
        udp,
        options: if udp { 0 } else { words * 4 },
    })
}

/// Sends a super-packet from `a`; gives the datagrams.
fn send(pair: &mut Pair, vnet: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Output::default();
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + PADDING, 0xee);
    pair.a.engine.handle_offloaded(vnet, &mut buffer, packet.len(), pair.now, &mut out);
    out.transmits
        .iter()
        .flat_map(|batch| batch.datagrams().map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect()
}

/// Receives datagrams at `b`, whose host takes this.
fn receive(
    b: &mut Node,
    pair: (std::net::SocketAddr, engine::Timestamp),
    datagrams: &[Vec<u8>],
    offload: HostOffload,
) -> Vec<Vec<u8>> {
    let mut out = Output { packets: Packets::new(offload), ..Output::default() };
    for datagram in datagrams {
        b.engine.handle_datagram(pair.0.into(), Ecn::NotCapable, datagram, pair.1, &mut out);
    }
    out.packets.iter().map(<[u8]>::to_vec).collect()
}

/// The Internet checksum over the pseudo-header and what follows, word by word: 0 if it is right.
fn transport_sum(kind: Kind, packet: &[u8]) -> u16 {
    let addresses = if kind.v6 { &packet[8..40] } else { &packet[12..20] };
    let transport = &packet[kind.transport()..];
    let mut bytes = addresses.to_vec();
    bytes.extend(u32::try_from(transport.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, if kind.udp { UDP } else { TCP }]);
    bytes.extend(transport);
    !sum(&bytes)
}

fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.fold(0u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    u16::try_from(sum).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_cut_is_right_and_what_is_joined_is_what_was_cut(
        kind in kind(),
        payload in proptest::collection::vec(any::<u8>(), 1..40_000),
        segment in 500usize..1368,
        sequence: u32,
        flags in prop_oneof![Just(0x10u8), Just(0x18), Just(0x11)],
    ) {
        let mut pair = Pair::connected();
        let whole = kind.super_packet(&payload, sequence, flags);
        let datagrams = send(&mut pair, &kind.vnet(segment), &whole);
        prop_assert_eq!(datagrams.len(), payload.len().div_ceil(segment));
        let at = (pair.a.address, pair.now);
        // A replay window of its own for each way to receive.
        let (first, rest) = datagrams.split_at(datagrams.len() / 2);

        // Without offload: packets, each right by itself.
        let packets = receive(&mut pair.b, at, first, HostOffload::None);
        let mut sent = 0;
        for (number, packet) in packets.iter().enumerate() {
            if !kind.v6 {
                prop_assert_eq!(sum(&packet[..20]), 0xffff);
                prop_assert_eq!(u16::from_be_bytes([packet[4], packet[5]]), u16::try_from(number).unwrap());
            }
            prop_assert_eq!(transport_sum(kind, packet), 0);
            let header = &packet[kind.transport()..];
            if !kind.udp {
                let expected = sequence.wrapping_add(u32::try_from(sent).unwrap());
                prop_assert_eq!(&header[4..8], expected.to_be_bytes());
                prop_assert_eq!(header[13] & 0x09, 0, "FIN and PSH are the last one's");
            }
            let data = &packet[kind.header_len()..];
            prop_assert_eq!(data, &payload[sent..sent + data.len()]);
            sent += data.len();
        }

        // With offload: super-packets, which hold the rest of the stream in order.
        let supers = receive(&mut pair.b, at, rest, HostOffload::TcpAndUdp);
        let mut count = 0;
        for packet in &supers {
            let vnet = VnetHeader::parse(packet.first_chunk().unwrap()).unwrap();
            let packet = &packet[VNET_HEADER_LEN..];
            let data = &packet[kind.header_len()..];
            prop_assert!(vnet.needs_checksum);
            prop_assert_eq!(data, &payload[sent..sent + data.len()]);
            count += match vnet.gso {
                Some(gso) => {
                    prop_assert_eq!(gso, kind.gso());
                    prop_assert_eq!(usize::from(vnet.segment), segment);
                    data.len().div_ceil(segment)
                }
                None => 1,
            };
            if !kind.v6 {
                prop_assert_eq!(sum(&packet[..20]), 0xffff);
            }
            // Completed as the host would, it is right.
            let mut completed = packet.to_vec();
            let field = kind.transport() + usize::from(vnet.checksum_offset);
            let completing = !sum(&completed[kind.transport()..]);
            completed[field..field + 2].copy_from_slice(&completing.to_be_bytes());
            prop_assert_eq!(transport_sum(kind, &completed), 0);
            sent += data.len();
        }
        prop_assert_eq!(sent, payload.len());
        prop_assert_eq!(count, rest.len());
        // A last packet that is alone in carrying a FIN stands by itself.
        prop_assert!(supers.len() <= 2 + rest.len() / 64, "{} of {}", supers.len(), rest.len());
    }

    #[test]
    fn headers_that_lie_are_refused_or_harmless(
        kind in kind(),
        gso in prop_oneof![Just(None), Just(Some(Gso::Tcp4)), Just(Some(Gso::Tcp6)), Just(Some(Gso::Udp))],
        fields: [u16; 4],
        small in any::<bool>(),
        needs_checksum: bool,
        len in 0usize..3000,
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut pair = Pair::connected();
        let mut packet = kind.super_packet(&vec![7; 3000], 1, 0x10);
        packet.truncate(len.max(1));
        for (at, value) in noise {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        let field = |n: usize| if small { fields[n] % 100 } else { fields[n] };
        let vnet = VnetHeader {
            gso,
            needs_checksum,
            header_len: field(0),
            segment: field(1),
            checksum_start: field(2),
            checksum_offset: if small && gso.is_some() { [6, 16][usize::from(field(3)) % 2] } else { field(3) },
        };
        let datagrams = send(&mut pair, &vnet, &packet);
        let at = (pair.a.address, pair.now);
        let out = receive(&mut pair.b, at, &datagrams, HostOffload::TcpAndUdp);
        prop_assert!(out.iter().map(Vec::len).sum::<usize>() <= 200 * 3000);
    }
}

#[test]
fn flows_are_not_mixed_and_order_is_kept() {
    let kind = Kind { v6: false, udp: false, options: 12 };
    let mut pair = Pair::connected();
    let at = (pair.a.address, pair.now);
    let mut datagrams = Vec::new();
    let mut expected = Vec::new();
    for number in 0..10u32 {
        let payload = vec![u8::try_from(number).unwrap(); 1000];
        let mut packet = kind.super_packet(&payload, 1 + number / 2 * 1000, 0x10);
        // Two flows, turn by turn.
        packet[21] = u8::try_from(number % 2).unwrap();
        datagrams.extend(send(&mut pair, &VnetHeader::default(), &packet));
        expected.push(payload);
    }
    let out = receive(&mut pair.b, at, &datagrams, HostOffload::Tcp);
    let got: Vec<_> =
        out.iter().map(|p| p[VNET_HEADER_LEN + kind.header_len()..].to_vec()).collect();
    assert_eq!(got, expected);
}

#[test]
fn what_is_not_consecutive_is_not_joined() {
    let kind = Kind { v6: true, udp: false, options: 0 };
    // (sequence, flags, traffic class) of a second packet after (1, ACK, 0) of 1000 bytes.
    for (sequence, flags, class, joins) in [
        (1001, 0x10, 0, true),
        (1001, 0x18, 0, true),
        (1002, 0x10, 0, false),
        (1, 0x10, 0, false),
        (1001, 0x11, 0, false),
        (1001, 0x90, 0, false),
        (1001, 0x10, 3, false),
    ] {
        let mut pair = Pair::connected();
        let at = (pair.a.address, pair.now);
        let first = kind.super_packet(&[1; 1000], 1, 0x10);
        let mut second = kind.super_packet(&[2; 1000], sequence, flags);
        second[1] |= class << 4;
        let mut datagrams = send(&mut pair, &VnetHeader::default(), &first);
        datagrams.extend(send(&mut pair, &VnetHeader::default(), &second));
        let out = receive(&mut pair.b, at, &datagrams, HostOffload::Tcp);
        assert_eq!(out.len(), if joins { 1 } else { 2 }, "{sequence} {flags:#x} {class}");
    }
}

#[test]
fn a_lie_is_counted() {
    let mut pair = Pair::connected();
    let kind = Kind { v6: false, udp: false, options: 0 };
    let packet = kind.super_packet(&[0; 3000], 1, 0x10);
    let lies = VnetHeader { segment: 0, ..kind.vnet(1000) };
    assert!(send(&mut pair, &lies, &packet).is_empty());
    assert_eq!(pair.a.dropped(DropReason::HostNotIp), 1);
}
