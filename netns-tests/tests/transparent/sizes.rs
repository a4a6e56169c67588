//! Datagrams and streams of odd sizes, on interfaces of several MTUs.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use netns_tests::wireguard::{INNER_A, INNER_B, Implementation, Tunnel};
use netns_tests::{
    Host, Lab, UdpEcho, set_socket_option, tcp_transfer, udp_round_trip, udp_socket,
};

use crate::packet::payload;
use crate::{SOON, talking};

/// Carries every message that is asked for here, sealed.
const UNDERLAY: u32 = 9200;
const MTUS: [u16; 4] = [1280, 1420, 1500, 9000];
/// A super-packet of older kernels has no more.
const SEGMENTS: usize = 64;
/// The longest datagram over IPv4.
const LONGEST: usize = 65_507;

/// Headers of IP and UDP.
fn headers(far: IpAddr) -> usize {
    if far.is_ipv4() { 28 } else { 48 }
}

/// Two talking tunnels, on a link that carries jumbo frames.
fn with_mtu<'h>(hosts: &'h [Host; 2], theirs: Implementation, mtu: u16) -> Result<[Tunnel<'h>; 2]> {
    let tunnels = talking(hosts, theirs)?;
    for tunnel in &tunnels {
        tunnel.set_mtu(mtu)?;
    }
    Ok(tunnels)
}

fn hosts(name: &str) -> Result<[Host; 2]> {
    let lab = Lab::new(name)?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    lab.link(&a, &b)
        .at_a(&["10.0.0.1/24", "fd00::1/64"])
        .at_b(&["10.0.0.2/24", "fd00::2/64"])
        .mtu(UNDERLAY)
        .veth()?;
    Ok([a, b])
}

/// There and back, in every interesting length.
fn datagrams(theirs: Implementation, mtu: u16) -> Result<()> {
    let hosts = hosts("datagrams")?;
    let _tunnels = with_mtu(&hosts, theirs, mtu)?;
    for far in INNER_B {
        let far: IpAddr = far.parse()?;
        let echo = UdpEcho::start(&hosts[1], (far, 0).into())?;
        let whole = usize::from(mtu) - headers(far);
        let lengths = (0..=17)
            .chain([31, 32, 33, 255, 256, 1000])
            // What fills the MTU, what padding would overfill, and what the host fragments.
            .chain(whole - 17..=whole + 1)
            .chain([whole * 2, 20_001, LONGEST]);
        for len in lengths {
            udp_round_trip(&hosts[0], echo.address(), &payload(len), SOON)
                .with_context(|| format!("{theirs:?}, MTU {mtu}, {far}: {len} bytes"))?;
        }
    }
    Ok(())
}

#[test]
fn datagrams_of_every_length_and_mtu() -> Result<()> {
    MTUS.into_iter().try_for_each(|mtu| datagrams(Implementation::Nearwire, mtu))
}

#[test]
fn datagrams_of_every_length_with_others() -> Result<()> {
    datagrams(Implementation::WireguardGo, 1420)?;
    datagrams(Implementation::Boringtun, 1420)
}

/// Many datagrams by one call, the last of them shorter.
fn segmented(from: &Host, to: &Host, far: &str, mtu: u16) -> Result<()> {
    let receiver = udp_socket(to, SocketAddr::new(far.parse()?, 0))?;
    receiver.set_read_timeout(Some(SOON))?;
    let near = if far.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let sender = udp_socket(from, near.parse()?)?;
    sender.connect(receiver.local_addr()?)?;
    let longest = usize::from(mtu) - headers(far.parse()?);
    for segment in [1, 2, 15, 16, 17, 100, 511, 1001, longest - 1, longest] {
        let option = i32::try_from(segment)?.to_ne_bytes();
        set_socket_option(&sender, libc::SOL_UDP, libc::UDP_SEGMENT, &option)?;
        let most = SEGMENTS.min(LONGEST / segment - 1);
        for (whole, last) in [(1, 0), (most - 1, 1), (most, 0), (most / 2, segment.div_ceil(2))] {
            let sent = payload(whole * segment + last);
            sender.send(&sent)?;
            let mut buffer = vec![0; LONGEST];
            for (number, datagram) in sent.chunks(segment).enumerate() {
                let what = || format!("MTU {mtu}, {far}: {number} of {whole} x {segment} + {last}");
                let len = receiver.recv(&mut buffer).with_context(what)?;
                assert!(buffer[..len] == *datagram, "{}: {len} other bytes", what());
            }
        }
    }
    Ok(())
}

#[test]
fn segmented_datagrams_of_every_size_and_mtu() -> Result<()> {
    for mtu in MTUS {
        let hosts = hosts("segmented")?;
        let _tunnels = with_mtu(&hosts, Implementation::Nearwire, mtu)?;
        for (near, far) in INNER_A.into_iter().zip(INNER_B) {
            segmented(&hosts[0], &hosts[1], far, mtu)?;
            segmented(&hosts[1], &hosts[0], near, mtu)?;
        }
    }
    Ok(())
}

#[test]
fn segmented_datagrams_with_others() -> Result<()> {
    for theirs in [Implementation::WireguardGo, Implementation::Boringtun] {
        let hosts = hosts("segmented")?;
        let _tunnels = talking(&hosts, theirs)?;
        for far in INNER_B {
            segmented(&hosts[0], &hosts[1], far, 1420).with_context(|| format!("{theirs:?}"))?;
        }
    }
    Ok(())
}

/// The receiver asks for segments of this length; the sender's super-packets follow.
#[test]
fn streams_of_odd_segments() -> Result<()> {
    let hosts = hosts("segments")?;
    let [_a, b] = with_mtu(&hosts, Implementation::Nearwire, 1420)?;
    for mss in ["88", "537", "1001", "1367"] {
        for (near, far) in INNER_A.into_iter().zip(INNER_B) {
            hosts[1].sysctl("net.ipv4.route.min_adv_mss", "88")?;
            let family = if near.contains(':') { "-6" } else { "-4" };
            let route = [family, "route", "replace", near, "dev", b.name(), "advmss", mss];
            hosts[1].ip(route)?;
            tcp_transfer(&hosts[0], &hosts[1], far.parse()?, 1 << 20, SOON)
                .with_context(|| format!("{far}: segments of {mss}"))?;
        }
    }
    Ok(())
}
