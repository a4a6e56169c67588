//! What leaves the tunnel and is sent on by the host: every checksum is finished then, and every
//! super-packet cut, so that a third host sees what the first sent, save for one hop.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::tcp_transfer;

use crate::packet::{AS_IT_IS, Header, TCP, UDP, checksum, is_ours, payload};
use crate::{Road, SERVER, SOON};

/// The packet, one router on.
pub(crate) fn one_hop_on(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    packet[8] -= 1;
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let sum = checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum);
    packet
}

#[test]
fn plain_tcp_and_udp_leave_as_they_came() -> Result<()> {
    let road = Road::new("plain")?;
    let [near, _far] = road.tunnels()?;
    for far in SERVER {
        let (udp, tcp) = (Header::to(far, UDP), Header::to(far, TCP));
        let writer = road.client.writer(near.name(), udp.family())?;
        let mut seen = road.server.sniff(&road.arrival, udp.family())?;
        let mut packets = Vec::new();
        for len in [0, 1, 2, 3, 15, 16, 17, 500, 1339, 1340] {
            packets.push(udp.udp(&payload(len)));
            // Acknowledged; pushed; ended; reset; greeted; congestion; urgent.
            for flags in [0x10, 0x18, 0x11, 0x14, 0x02, 0x50, 0x90, 0x30] {
                packets.push(tcp.tcp(0xffff_fff0, flags, &payload(len)));
            }
        }
        for class in [0x01, 0x02, 0x03, 0xb8] {
            packets.push(Header { class, ..udp.clone() }.udp(&payload(100)));
            packets.push(Header { class, ..tcp.clone() }.tcp(1, 0x10, &payload(100)));
        }
        for (hops, fragment) in [(2, 0), (255, 0x4000)] {
            packets.push(Header { hops, fragment, ..udp.clone() }.udp(&payload(100)));
            packets.push(Header { hops, fragment, ..tcp.clone() }.tcp(1, 0x10, &payload(100)));
        }
        for packet in packets {
            writer.write(&AS_IT_IS, &packet)?;
            let on = seen.next(SOON, is_ours).with_context(|| format!("{packet:02x?}"))?;
            assert_eq!(on, one_hop_on(packet));
        }
    }
    Ok(())
}

/// The server checks every checksum, because nobody vouches for one on its link.
#[test]
fn streams_leave_with_right_checksums() -> Result<()> {
    let road = Road::new("checksums")?;
    let _tunnels = road.tunnels()?;
    for far in SERVER {
        let patience = Duration::from_secs(60);
        tcp_transfer(&road.client, &road.server, far.parse()?, 16 << 20, patience)?;
    }
    let wrong = road.server.run(["nstat", "-asz", "TcpInCsumErrors"])?.stdout;
    let count = wrong.lines().find_map(|line| line.strip_prefix("TcpInCsumErrors"));
    let count = count.and_then(|rest| rest.split_whitespace().next());
    assert_eq!(count, Some("0"), "{wrong}");
    Ok(())
}
