//! First packets, each of a new flow, as fast as a host takes them: written into a TUN interface and
//! counted behind the filter. No tunnel and no answer hides what the filter costs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dataplane::TunnelPolicy;
use netns_tests::{Host, Lab, Tun};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::connections::{GUARDS, RULES, others};
use super::ends::Guard;
use super::filters::Filter;
use super::rules::{HERE, PORTS, Protocol, Rules, SOURCES};
use super::samples::Measure;
use super::{Bench, Found, verdicts};
use crate::bench::{Reach, Row};

/// It ends after a burst in which so much time is used up.
const TIME: Duration = Duration::from_millis(800);
/// Packets of a burst, each of which meets each rule equally often.
const BURST: u32 = 2 * RULES;
/// The most packets: by default conntrack has room for more, and each flood has a table of its own.
const MOST: u32 = 200_000;

fn first_packets() -> Measure {
    Measure::new("first packets of new flows, filter alone, 10,000 rules", "packets/s")
}

pub(super) fn measure(bench: &mut Bench) {
    for guard in GUARDS {
        bench.attempt(&format!("first packets, {}", guard.name()), |_| {
            let found = flood(guard)?.into_iter().map(|rate| (first_packets(), guard.name(), rate));
            Ok::<Vec<Found>, _>(found.collect())
        });
    }
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    let reach = |guard| match guard {
        Guard::Netfilter(Filter::Iptables) => Some(Reach::AtLeast(20.0)),
        _ => None,
    };
    let beside = |guard: Guard| samples.beside(&first_packets(), guard.name(), reach(guard));
    others().map(beside).collect()
}

/// The rate of each burst.
fn flood(guard: Guard) -> Result<Vec<f64>> {
    let rules = Rules::new(RULES, Protocol::Udp);
    let host = Lab::new("flood")?.host("host")?;
    let tun = Tun::open(&host, &format!("{HERE}/24"))?;
    host.ip(["route", "add", SOURCES, "dev", tun.name()])?;
    let _policy = match guard {
        Guard::Nearwire => {
            let compiled = verdicts::compiled(&rules)?;
            Some(host.enter(|| TunnelPolicy::attach(tun.name(), &compiled, None))??)
        }
        Guard::Netfilter(filter) => {
            filter.enforce(&host, tun.name(), &rules)?;
            None
        }
        Guard::Nobody => None,
    };
    let _sinks = sinks(&host)?;
    let before = delivered(&host)?;
    let (mut time, mut sent, mut rates) = (Duration::ZERO, 0, Vec::new());
    while time < TIME && sent < MOST {
        let packets: Vec<_> = (sent..sent + BURST).map(|number| packet(&rules, number)).collect();
        let took = tun.write_all(&packets).context("writing first packets")?;
        rates.push(f64::from(BURST) / took.as_secs_f64());
        time += took;
        sent += BURST;
    }
    let passed = delivered(&host)? - before;
    ensure!(
        passed == u64::from(sent),
        "of {sent} packets that the rules allow {passed} passed: see `dmesg`; a table of conntrack \
         with less than {MOST} places (net.netfilter.nf_conntrack_max) is too small"
    );
    Ok(rates)
}

/// Sockets that nobody reads: a packet that has passed is dropped there, the cheapest end.
fn sinks(host: &Host) -> Result<Vec<UdpSocket>> {
    let open = |port| -> Result<UdpSocket> {
        let socket = host.enter(|| UdpSocket::bind(SocketAddr::from((HERE, port))))??;
        set_socket_recv_buffer_size(&socket, 1)?;
        Ok(socket)
    };
    PORTS.map(open).collect()
}

/// Packets that the host's IP stack has handed to a protocol, which comes behind every filter.
fn delivered(host: &Host) -> Result<u64> {
    let text = host.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
    column(&text, "Ip:", "InDelivers").context("/proc/net/snmp: no InDelivers")
}

/// A number of `/proc/net/snmp`: a line of names, then a line of numbers.
pub(super) fn column(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

/// A datagram of four bytes, of a flow that no other packet of this flood belongs to.
fn packet(rules: &Rules, number: u32) -> [u8; 32] {
    let (rule, from) = rules.flow(number);
    udp(rule.source, from, rule.port)
}

fn udp(source: Ipv4Addr, from: u16, to: u16) -> [u8; 32] {
    let mut packet = [0; 32];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17]);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&HERE.octets());
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..22].copy_from_slice(&from.to_be_bytes());
    packet[22..24].copy_from_slice(&to.to_be_bytes());
    // Its length; a checksum of zero is none.
    packet[24..28].copy_from_slice(&[0, 12, 0, 0]);
    packet
}

/// The Internet's checksum (RFC 1071) of an even number of bytes.
pub(super) fn checksum(header: &[u8]) -> u16 {
    let words =
        header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let [.., high, low] = sum.to_be_bytes();
    !u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_packets_are_of_one_flow_and_headers_add_up() {
        let rules = Rules::new(RULES, Protocol::Udp);
        let packets: BTreeSet<_> = (0..MOST).map(|number| packet(&rules, number)).collect();
        assert_eq!(packets.len(), MOST as usize);
        assert!(packets.iter().all(|packet| checksum(&packet[..20]) == 0));
    }

    #[test]
    fn a_column_is_found_by_its_name() {
        let text = "Ip: Forwarding InDelivers\nIp: 1 42\nUdp: InDatagrams\nUdp: 7\n";
        assert_eq!(column(text, "Ip:", "InDelivers"), Some(42));
        assert_eq!(column(text, "Udp:", "InDatagrams"), Some(7));
        assert_eq!(column(text, "Tcp:", "InSegs"), None);
    }
}
