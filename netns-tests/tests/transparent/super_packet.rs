//! Super-packets, whatever headers they carry, leave the tunnel as what they were to be cut into.

use anyhow::{Context as _, Result};
use netns_tests::{Family, Sniffer, Writer};

use crate::forwarded::one_hop_on;
use crate::packet::{Header, TCP, UDP, is_ours, payload};
use crate::{Road, SERVER, SOON};

/// With timestamps.
pub(crate) const TCP_HEADER: usize = 32;
const UDP_HEADER: usize = 8;
const NEEDS_CHECKSUM: u8 = 1;
/// Congestion window reduced, acknowledged, pushed, ended.
const CWR: u8 = 0x80;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const FIN: u8 = 0x01;

/// A super-packet to be made.
pub(crate) struct Super {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) segment: usize,
}

impl Super {
    /// The header in front of it, as Linux's `struct virtio_net_hdr`.
    pub(crate) fn vnet(&self) -> [u8; 10] {
        let (kind, transport_len, checksum_at) = match (self.header.protocol, self.header.family())
        {
            (UDP, _) => (5, UDP_HEADER, 6),
            (_, Family::V4) => (1, TCP_HEADER, 16),
            (_, Family::V6) => (4, TCP_HEADER, 16),
        };
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&[NEEDS_CHECKSUM, kind]);
        let start = self.header.len();
        let fields = [start + transport_len, self.segment, start, checksum_at];
        for (to, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&u16::try_from(field).expect("a short field").to_ne_bytes());
        }
        bytes
    }

    /// The super-packet, its checksum not finished.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let header = &self.header;
        let mut packet = match header.protocol {
            UDP => header.udp(&self.payload),
            _ => header.tcp(self.sequence(0), CWR | ACK | PSH | FIN, &self.payload),
        };
        let start = header.len();
        let at = start + if header.protocol == UDP { 6 } else { 16 };
        // The sum of the pseudo-header alone, without the final complement.
        let sum = crate::packet::checksum(&header.pseudo_header(packet.len() - start));
        packet[at..at + 2].copy_from_slice(&sum.map(|byte| !byte));
        packet
    }

    /// What it is to be cut into.
    pub(crate) fn pieces(&self) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(self.segment);
        let piece = |(number, payload): (usize, &[u8])| {
            let id = self.header.id.wrapping_add(u16::try_from(number).expect("few"));
            let header = Header { id, ..self.header.clone() };
            let first = if number == 0 { CWR } else { 0 };
            let last = if number + 1 == count { PSH | FIN } else { 0 };
            match self.header.protocol {
                UDP => header.udp(payload),
                _ => header.tcp(self.sequence(number), first | ACK | last, payload),
            }
        };
        self.payload.chunks(self.segment).enumerate().map(piece).collect()
    }

    /// Close before the numbers begin anew.
    fn sequence(&self, number: usize) -> u32 {
        0xffff_ff00u32.wrapping_add(u32::try_from(number * self.segment).expect("short"))
    }
}

/// Sends it into the tunnel and sees every piece at the server.
fn is_cut_right(writer: &Writer, seen: &mut Sniffer, packet: &Super) -> Result<()> {
    writer.write(&packet.vnet(), &packet.whole())?;
    for (number, piece) in packet.pieces().into_iter().enumerate() {
        let on = seen.next(SOON, is_ours).with_context(|| format!("piece {number}"))?;
        assert_eq!(on, one_hop_on(piece), "piece {number}");
    }
    Ok(())
}

fn all_are_cut_right(protocol: u8) -> Result<()> {
    let road = Road::new("super")?;
    let [near, _far] = road.tunnels()?;
    let extension = vec![protocol, 0, 1, 4, 0, 0, 0, 0];
    for (far, options) in [
        (SERVER[0], vec![]),
        (SERVER[0], vec![1, 1, 1, 0]),
        (SERVER[0], vec![1; 40]),
        (SERVER[1], vec![]),
        (SERVER[1], extension),
    ] {
        let plain = Header { options, extension: 60, ..Header::to(far, protocol) };
        let writer = road.client.writer(near.name(), plain.family())?;
        let mut seen = road.server.sniff(&road.arrival, plain.family())?;
        for (segment, len) in [(1000, 5000), (1000, 4001), (1001, 10_000), (333, 20_000), (2, 101)]
        {
            for (class, hops, fragment) in [(0, 64, 0x4000), (0xb9, 255, 0), (0x02, 2, 0x4000)] {
                let header = Header { class, hops, fragment, ..plain.clone() };
                let packet = Super { header, payload: payload(len), segment };
                is_cut_right(&writer, &mut seen, &packet)
                    .with_context(|| format!("{len} bytes by {segment}: {:?}", packet.header))?;
            }
        }
    }
    Ok(())
}

#[test]
fn tcp_with_options_and_extension_headers() -> Result<()> {
    all_are_cut_right(TCP)
}

#[test]
fn udp_with_options_and_extension_headers() -> Result<()> {
    all_are_cut_right(UDP)
}
