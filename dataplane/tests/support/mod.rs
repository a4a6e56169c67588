//! Packets and policies for the tests of this directory.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod namespace;
pub(crate) mod outcome;

use std::net::IpAddr;

use dataplane::PolicyPrograms;
use policy::{Compiled, Document};

/// This host and a peer beyond the tunnel.
pub(crate) const HOST: &str = "10.0.0.2";
pub(crate) const PEER: &str = "10.0.0.7";
pub(crate) const HOST6: &str = "fd00::2";
pub(crate) const PEER6: &str = "fd00::7";

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) fn compiled(acls: &str) -> Compiled {
    let text = format!("{{ \"acls\": [{acls}] }}");
    let document = Document::parse(&text)
        .unwrap_or_else(|errors| panic!("{}", policy::render("policy", &text, &errors)));
    policy::compile(&document).unwrap()
}

/// Loading takes privileges: without them the tests fail and say so.
pub(crate) fn load(compiled: &Compiled) -> PolicyPrograms {
    PolicyPrograms::load(compiled).unwrap_or_else(|error| panic!("{error}"))
}

/// An IP packet of either family around an upper-layer packet.
pub(crate) fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            let length = u16::try_from(packet.len()).unwrap();
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        mixed => panic!("two families: {mixed:?}"),
    }
}

/// A TCP packet without a payload.
pub(crate) fn tcp(source: &str, destination: &str, (from, to): (u16, u16), flags: u8) -> Vec<u8> {
    let mut header = ports(from, to);
    header[13] = flags;
    ip(source, destination, TCP, &header)
}

/// A UDP packet.
pub(crate) fn udp(source: &str, destination: &str, (from, to): (u16, u16)) -> Vec<u8> {
    ip(source, destination, UDP, &ports(from, to))
}

/// An SCTP packet with this chunk.
pub(crate) fn sctp(source: &str, destination: &str, (from, to): (u16, u16), chunk: u8) -> Vec<u8> {
    let mut header = ports(from, to);
    header[12] = chunk;
    ip(source, destination, SCTP, &header)
}

/// The start of a TCP, UDP or SCTP packet.
pub(crate) fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

pub(crate) fn icmp(kind: u8, code: u8, id: u16, rest: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut bytes = vec![kind, code, 0, 0, high, low, 0, 1];
    bytes.extend(rest);
    bytes
}

/// The IPv4 packet as a fragment: `offset` in units of eight bytes.
pub(crate) fn fragment(mut packet: Vec<u8>, id: u16, offset: u16, more: bool) -> Vec<u8> {
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    let field = offset | if more { 0x2000 } else { 0 };
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    packet
}

/// The IPv6 packet with a chain of extension headers before what it carries.
pub(crate) fn extended(packet: &[u8], headers: &[(u8, [u8; 8])]) -> Vec<u8> {
    let mut extended = packet[..40].to_vec();
    let mut next = 6;
    for (kind, bytes) in headers {
        extended[next] = *kind;
        next = extended.len();
        extended.extend(bytes);
    }
    extended[next] = packet[6];
    let length = u16::from_be_bytes([packet[4], packet[5]]);
    let length = length.saturating_add(u16::try_from(8 * headers.len()).unwrap());
    extended[4..6].copy_from_slice(&length.to_be_bytes());
    extended.extend(&packet[40..]);
    extended
}
