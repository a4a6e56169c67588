//! The load that benches put on a tunnel: what it sends, and that it counts rightly.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use netns_tests::wireguard::{Implementation, Tunnel, wired_hosts};
use netns_tests::{Lab, Load, Questions, RemotePeers, UdpEcho, flood, udp_round_trips};

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
