//! Congestion marks (RFC 6040): the outer header says what the inner one says, and what a router on
//! the way marks arrives inside. The rest of the class stays inside.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netns_tests::wireguard::{INNER_B, Implementation, OUTER_B, Pairing, Tunnel, wired_hosts};
use netns_tests::{Family, Host, Lab, Sniffer, ping, tcp_transfer};

use crate::SOON;
use crate::packet::{AS_IT_IS, Header, TCP, UDP, checksum, is_ours, payload};
use crate::super_packet::{Super, TCP_HEADER};

/// Not capable of ECN, capable (in two ways), congestion experienced; with nftables' names.
const NOT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;
const NAMES: [&str; 4] = ["not-ect", "ect1", "ect0", "ce"];
/// Expedited forwarding, for the inside only.
const CLASS: u8 = 46 << 2;

/// Two tunnels over one family outside.
fn pair(hosts: &[Host; 2], outer: usize) -> Result<[Tunnel<'_>; 2]> {
    let start = |host| Tunnel::start(host, Implementation::Nearwire);
    let tunnels = [start(&hosts[0])?, start(&hosts[1])?];
    Pairing::to(OUTER_B[outer].parse()?).connect(&tunnels[0], &tunnels[1])?;
    ping(&hosts[0], INNER_B[0])?;
    Ok(tunnels)
}

fn class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => packet[0] << 4 | packet[1] >> 4,
    }
}

/// Marks what `host` sends to a tunnel: all of it or, as a router on the way would, one in four of
/// what says that it is capable of ECN.
fn mark(host: &Host, to: &Tunnel<'_>, ecn: u8, as_a_router: bool) -> Result<()> {
    let (port, name) = (to.port(), NAMES[usize::from(ecn)]);
    let rule = |ip: &str| {
        let capable = format!("{ip} ecn != not-ect numgen inc mod 4 0");
        let which = if as_a_router { &capable } else { "" };
        format!("udp dport {port} {which} {ip} ecn set {name};")
    };
    let rules = [rule("ip"), rule("ip6")].concat();
    let chain = format!("chain out {{ type filter hook output priority 0; {rules} }}");
    host.run(["nft", &format!("flush ruleset; table inet marks {{ {chain}; }}")])?;
    Ok(())
}

/// A datagram of the class for the inside, whose length nothing else has.
fn datagram(far: &str, ecn: u8, number: usize) -> Vec<u8> {
    Header { class: CLASS | ecn, ..Header::to(far, UDP) }.udp(&payload(300 + number))
}

#[test]
fn the_outer_header_has_the_mark_and_nothing_else() -> Result<()> {
    for (outer, outside) in [Family::V4, Family::V6].into_iter().enumerate() {
        let lab = Lab::new("outer")?;
        let hosts = wired_hosts(&lab)?;
        let [a, _b] = pair(&hosts, outer)?;
        for (far, inside) in INNER_B.into_iter().zip([Family::V4, Family::V6]) {
            let writer = hosts[0].writer(a.name(), inside)?;
            let mut seen = hosts[1].sniff("eth0", outside)?;
            for ecn in [NOT, ECT_1, ECT_0, CE] {
                writer.write(&AS_IT_IS, &datagram(far, ecn, 0))?;
                let sealed = |packet: &[u8]| packet.len() > 300;
                let on = seen.next(SOON, sealed)?;
                assert_eq!(class(&on), ecn, "{inside:?} in {outside:?}");
            }
        }
    }
    Ok(())
}

/// Figure 4 of RFC 6040: what arrives, by the inner mark and the outer one.
fn arriving(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT, CE) => None,
        (NOT, _) => Some(NOT),
        (CE, _) | (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// The next of our datagrams that comes out of the tunnel.
fn next(seen: &mut Sniffer) -> Result<Vec<u8>> {
    let packet = seen.next(SOON, is_ours)?;
    ensure!(
        packet[0] >> 4 == 6 || checksum(&packet[..20]) == [0, 0],
        "a wrong checksum: {packet:02x?}"
    );
    Ok(packet)
}

#[test]
fn marks_of_routers_arrive_as_rfc_6040_says() -> Result<()> {
    for outer in 0..2 {
        let lab = Lab::new("marks")?;
        let hosts = wired_hosts(&lab)?;
        let [a, b] = pair(&hosts, outer)?;
        for (far, inside) in INNER_B.into_iter().zip([Family::V4, Family::V6]) {
            let writer = hosts[0].writer(a.name(), inside)?;
            let mut seen = hosts[1].sniff(b.name(), inside)?;
            for marked in [NOT, ECT_1, ECT_0, CE] {
                mark(&hosts[0], &b, marked, false)?;
                for inner in [NOT, ECT_1, ECT_0, CE] {
                    let what = || format!("{inner:02b} in {marked:02b}, {inside:?} inside");
                    writer.write(&AS_IT_IS, &datagram(far, inner, 0))?;
                    // Nothing overtakes: what comes in place of a dropped one is this.
                    writer.write(&AS_IT_IS, &datagram(far, CE, 1))?;
                    let mut came = next(&mut seen).with_context(what)?;
                    if let Some(expected) = arriving(inner, marked) {
                        assert_eq!(class(&came), CLASS | expected, "{}", what());
                        assert_eq!(came.len(), datagram(far, inner, 0).len());
                        came = next(&mut seen).with_context(what)?;
                    }
                    assert_eq!(came.len(), datagram(far, CE, 1).len(), "{}", what());
                    assert_eq!(class(&came), CLASS | CE, "{}", what());
                }
            }
        }
    }
    Ok(())
}

/// Many datagrams leave by one call and arrive by one: the mark is that of each.
#[test]
fn marks_of_many_at_once_arrive() -> Result<()> {
    for outer in 0..2 {
        let lab = Lab::new("many marks")?;
        let hosts = wired_hosts(&lab)?;
        let [a, b] = pair(&hosts, outer)?;
        mark(&hosts[0], &b, CE, false)?;
        for (far, inside) in INNER_B.into_iter().zip([Family::V4, Family::V6]) {
            let header = Header { class: CLASS | ECT_0, ..Header::to(far, TCP) };
            let headers = header.len() + TCP_HEADER;
            let sent = Super { header, payload: payload(20_000), segment: 1000 };
            let mut seen = hosts[1].sniff(b.name(), inside)?;
            hosts[0].writer(a.name(), inside)?.write(&sent.vnet(), &sent.whole())?;
            let mut arrived = 0;
            while arrived < sent.payload.len() {
                let came = next(&mut seen).with_context(|| format!("after {arrived} bytes"))?;
                assert_eq!(class(&came), CLASS | CE, "after {arrived} bytes to {far}");
                arrived += came.len() - headers;
            }
        }
    }
    Ok(())
}

/// A receiver of TCP sees the marks and tells the sender.
#[test]
fn tcp_hears_of_congestion_on_the_way() -> Result<()> {
    for outer in 0..2 {
        let lab = Lab::new("tcp marks")?;
        let hosts = wired_hosts(&lab)?;
        for host in &hosts {
            host.sysctl("net.ipv4.tcp_ecn", "1")?;
        }
        let [_a, b] = pair(&hosts, outer)?;
        mark(&hosts[0], &b, CE, true)?;
        for far in INNER_B {
            let told = delivered_marked(&hosts[0])?;
            let patience = Duration::from_secs(60);
            tcp_transfer(&hosts[0], &hosts[1], far.parse()?, 1 << 20, patience)?;
            let told = delivered_marked(&hosts[0])? - told;
            ensure!(told > 0, "nobody told of congestion to {far}");
        }
    }
    Ok(())
}

/// How many TCP segments of this host arrived marked, as the receivers said.
fn delivered_marked(host: &Host) -> Result<u64> {
    let shown = host.run(["nstat", "-asz", "TcpExtTCPDeliveredCE"])?.stdout;
    let line = shown.lines().find(|line| line.starts_with("TcpExtTCPDeliveredCE"));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(count.with_context(|| shown.clone())?.parse()?)
}
