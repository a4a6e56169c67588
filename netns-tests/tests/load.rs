//! The load that benches put on a tunnel: what it sends, and that it counts rightly.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use netns_tests::wireguard::{Implementation, Tunnel, wired_hosts};
use netns_tests::{
    Lab, Load, Questions, RemotePeers, Tun, UdpEcho, flood, tcp_connects, udp_round_trips,
    udp_socket,
};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_slow_flood_arrives_whole_and_is_never_faster() -> Result<()> {
    let [a, b] = wired_hosts(&Lab::new("load")?)?;
    let load = Load { payload: 64, rate: Some(5000.0), time: SHORT };
    let delivery = flood(&a, &b, "10.0.0.2:7009".parse()?, load)?;
    assert_eq!(delivery.arrived, delivery.sent, "{delivery:?}");
    assert!((1..=1000).contains(&delivery.sent), "{delivery:?}");
    assert!(delivery.in_time <= delivery.arrived, "{delivery:?}");
    Ok(())
}

#[test]
fn questions_are_answered_or_not() -> Result<()> {
    let [a, b] = wired_hosts(&Lab::new("load")?)?;
    let echo = UdpEcho::start(&b, "10.0.0.2:7007".parse()?)?;
    let paced = Questions { count: 50, every: Some(Duration::from_millis(1)), patience: SHORT };
    for questions in [paced, Questions { every: None, ..paced }] {
        let times = udp_round_trips(&a, echo.address(), questions)?;
        assert_eq!(times.iter().flatten().count(), 50, "{times:?}");
    }
    // Nobody is there; and the network says nothing of it.
    b.ip(["link", "set", "eth0", "down"])?;
    let questions = Questions { count: 3, ..paced };
    assert_eq!(udp_round_trips(&a, echo.address(), questions)?, [None; 3]);
    Ok(())
}

#[test]
fn connections_that_come_about_are_told_from_those_that_do_not() -> Result<()> {
    let [a, b] = wired_hosts(&Lab::new("load")?)?;
    let (from, open): (SocketAddrV4, SocketAddrV4) =
        ("10.0.0.1:0".parse()?, "10.0.0.2:80".parse()?);
    let connects = tcp_connects(&a, &b, &[open], SHORT, |_| (from, open))?;
    assert!(connects.made > 100 && connects.failed == 0, "{connects:?}");
    assert!(connects.elapsed >= SHORT, "{connects:?}");

    // Nobody listens at the other port, to which every second goes.
    let closed = SocketAddrV4::new(*open.ip(), 81);
    let pair = |number| (from, if number % 2 == 0 { open } else { closed });
    let connects = tcp_connects(&a, &b, &[open], SHORT, pair)?;
    assert!(connects.made.abs_diff(connects.failed) <= 4, "{connects:?}");
    Ok(())
}

#[test]
fn what_is_written_to_a_tun_arrives_in_its_host() -> Result<()> {
    let host = Lab::new("load")?.host("host")?;
    let tun = Tun::open(&host, "10.9.0.2/24")?;
    let receiver = udp_socket(&host, "10.9.0.2:53".parse()?)?;
    receiver.set_nonblocking(true)?;
    // From 10.9.0.1:1234, with the header's checksum and none of its own.
    let mut packet = [0; 32];
    packet[..12].copy_from_slice(&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0x66, 0xb9]);
    packet[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
    packet[20..28].copy_from_slice(&[0x04, 0xd2, 0, 53, 0, 12, 0, 0]);
    packet[28..].copy_from_slice(b"once");
    tun.write_all(&[packet, packet])?;
    let mut payload = [0; 8];
    for _ in 0..2 {
        let (len, from) = receiver.recv_from(&mut payload)?;
        assert_eq!((&payload[..len], from), (b"once".as_slice(), "10.9.0.1:1234".parse()?));
    }
    Ok(())
}

#[test]
fn remote_peers_all_have_sessions_and_all_send() -> Result<()> {
    const COUNT: usize = 300;
    let [a, b] = wired_hosts(&Lab::new("load")?)?;
    let tunnel = Tunnel::start(&b, Implementation::Nearwire)?;
    tunnel.configure(&["10.9.0.2/24"])?;
    let at = SocketAddr::from(([10, 0, 0, 2], tunnel.port()));
    let mut peers = RemotePeers::connect(&a, &tunnel, at, COUNT)?;
    let delivery = peers.flood(&b, "10.9.0.2:7009".parse()?, 64, SHORT)?;
    assert!(delivery.arrived > 0, "{delivery:?}");

    let status = tunnel.show()?;
    let with_session = status.peers.iter().filter(|peer| peer.latest_handshake > 0);
    assert_eq!(with_session.count(), COUNT);
    let mut endpoints: Vec<_> = status.peers.iter().filter_map(|peer| peer.endpoint).collect();
    endpoints.sort();
    endpoints.dedup();
    assert_eq!(endpoints.len(), COUNT);
    let first = endpoints.first().context("no endpoint")?;
    assert!(first.to_string().starts_with("10.64.0.1:"), "{first}");
    Ok(())
}
