//! IPv4 packets with UDP inside, as a host would write them.

use std::net::SocketAddrV4;

use anyhow::{Context, Result};

/// Where the payload of UDP begins.
pub(super) const PAYLOAD: usize = 28;

/// A packet with a payload of zeros. It has no UDP checksum, which IPv4 allows, so that the payload
/// can be changed without one.
pub(super) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: usize) -> Result<Vec<u8>> {
    let length = |bytes: usize| {
        let len = u16::try_from(bytes);
        len.map(u16::to_be_bytes).with_context(|| format!("{payload} bytes fit no packet"))
    };
    let mut packet = vec![0; PAYLOAD + payload];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length(PAYLOAD + payload)?);
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let checksum = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet[20..22].copy_from_slice(&from.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&length(8 + payload)?);
    Ok(packet)
}

/// The Internet's sum (RFC 1071) of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    words.fold(0, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_up_and_says_its_length() {
        let from = "10.65.0.1:7".parse().unwrap();
        let packet = udp(from, "10.9.0.2:4660".parse().unwrap(), 64).unwrap();
        assert_eq!(sum(&packet[..20]), 0xffff);
        assert_eq!((packet.len(), &packet[2..4]), (92, &[0u8, 92][..]));
        assert_eq!(&packet[20..26], [0, 7, 0x12, 0x34, 0, 72]);
        assert!(udp(from, from, 65_520).is_err());
    }
}
