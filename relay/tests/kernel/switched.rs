//! Data between lanes of any family, and between lanes and connections.

use std::time::{Duration, Instant};

use netns_tests::tcp_transfer;

use super::client::{Client, Way};
use super::hosts::{lanes, pair};
use super::lane::{Lane, open};
use super::scene::{Machine, RELAYS, holder_at, start, start_with};

const KERNEL: &str = "/counters/kernel_packets";
const LENGTHS: [usize; 6] = [1, 32, 148, 1_000, 1_300, 1_400];

/// Packets of many lengths both ways, whole.
async fn exchange(ends: &mut [Lane; 2]) {
    for length in LENGTHS {
        let packet: Vec<u8> = (0..length).map(|n| (n * 7 + length).to_le_bytes()[0]).collect();
        let [a, b] = &mut *ends;
        a.send(&packet).await;
        assert_eq!(b.receive().await, packet);
        b.send(&packet).await;
        assert_eq!(a.receive().await, packet);
    }
}

async fn any_families(relay: &Machine, node: u8) {
    for (n, v6) in (0..).zip([[false, false], [false, true], [true, true]]) {
        let before = relay.number(KERNEL);
        let (_clients, mut ends) = lanes(relay, [node + 2 * n, node + 1 + 2 * n], v6).await;
        exchange(&mut ends).await;
        let switched = relay.number(KERNEL) - before;
        assert_eq!(switched, 2 * LENGTHS.len() as u64, "{v6:?}: {}", relay.status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_of_any_family_are_switched_beside_other_traffic() {
    let relay = start("relay-families", &[], &[]);
    let status = relay.status();
    assert_eq!(status["lane_switch"], "xdp", "{status}");
    for interface in status["xdp"]["interfaces"].as_array().expect("interfaces") {
        assert_eq!(interface["mode"], "driver", "{status}");
    }
    any_families(&relay, 1).await;
    // Whatever else comes by these interfaces goes to the host: as a login by ssh would.
    for [v4, v6] in RELAYS {
        for ip in [v4, v6] {
            let host = &relay.hosts[usize::from(ip.contains('2'))].host;
            let ip = ip.parse().expect("an address");
            tcp_transfer(host, &relay.host, ip, 1 << 20, Duration::from_secs(20)).expect("TCP");
        }
    }
    assert_eq!(relay.number("/drops/lane_malformed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_driver_cannot_the_generic_path_switches() {
    // No veth has XDP in its driver for frames larger than a page.
    let relay = start_with("relay-generic", &[], &[], 9_000);
    let status = relay.status();
    for interface in status["xdp"]["interfaces"].as_array().expect("interfaces") {
        assert_eq!(interface["mode"], "generic", "{status}");
        assert!(interface["why"].to_string().contains("driver mode"), "{status}");
    }
    any_families(&relay, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_one_piece_goes_in_two() {
    let relay = start("relay-large", &[], &[]);
    let (_clients, [mut a, mut b]) = lanes(&relay, [1, 2], [false, true]).await;
    let packet = vec![5; 1_452];
    // As large as Ethernet takes by IPv4, and twenty bytes too large by IPv6.
    a.send(&packet).await;
    assert_eq!(b.receive().await, packet);
    assert_eq!(relay.number(KERNEL), 0, "the kernel's switch cuts nothing");
    b.send(&packet).await;
    assert_eq!(a.receive().await, packet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_and_connections_reach_each_other() {
    let relay = start("relay-mixed", &[], &[]);
    let mut node = 1;
    for way in [Way::Quic, Way::Tls] {
        let (mut clients, [opened, _]) = if way == Way::Tls {
            pair(&relay, [node, node + 1]).await
        } else {
            let [left, right] = &relay.hosts;
            let mut a = left.client(&relay, Way::Tls, node).await;
            let mut b = right.client(&relay, Way::Quic, node + 1).await;
            let ends = super::lane::open(&mut a, &mut b).await;
            ([a, b], ends)
        };
        node += 2;
        let mut lane = relay.hosts[0].bind(&opened, way == Way::Quic).await;
        lane.send(b"up").await;
        let (from, bytes, _) = clients[1].packets().await;
        assert_eq!((from, bytes), (clients[0].key, b"up".to_vec()), "{way:?}");
        let to = clients[0].key;
        clients[1].send(to, b"down", 4).await;
        assert_eq!(lane.receive().await, b"down");
    }
    assert_eq!((relay.number(KERNEL), relay.number("/drops/lane_unknown")), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_moves_and_a_silent_one_ends() {
    let relay = start("relay-moves", &[], &[]);
    let (_clients, mut ends) = lanes(&relay, [1, 2], [false, false]).await;
    exchange(&mut ends).await;
    // As behind a NAT that has forgotten us: another port.
    let [a, _] = &mut ends;
    let local = a.socket.local_addr().expect("bound").ip();
    let socket = relay.hosts[0].run(async move { tokio::net::UdpSocket::bind((local, 0)).await });
    a.socket = socket.await.expect("a socket");
    a.send(b"lost").await;
    relay.until("/drops/lane_source", 1);
    a.end.rebind(Instant::now());
    while !a.end.is_bound() {
        a.transmit().await;
        let bytes = a.datagram().await;
        a.end.receive(&bytes, Instant::now());
    }
    let before = relay.number(KERNEL);
    exchange(&mut ends).await;
    assert_eq!(relay.number(KERNEL) - before, 2 * LENGTHS.len() as u64);
    // Data alone, which no process sees, keeps nothing.
    let [a, b] = &mut ends;
    let deadline = Instant::now() + Duration::from_secs(30);
    while relay.number("/lane_ends_bound") > 0 {
        assert!(Instant::now() < deadline, "{}", relay.status());
        a.send(b"data").await;
        b.send(b"data").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let unknown = relay.number("/drops/lane_unknown");
    a.send(b"too late").await;
    relay.until("/drops/lane_unknown", unknown + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tickets_rate_holds_in_the_kernel() {
    let relay = start("relay-rate", &[], &[]);
    let [left, right] = &relay.hosts;
    let scene = relay.seen_from(left.side);
    let slow = holder_at(1, 20_000);
    let mut a = left.run(async move { Client::new(&scene, Way::Quic, slow).await }).await;
    let mut b = right.client(&relay, Way::Tls, 2).await;
    let [end_a, end_b] = open(&mut a, &mut b).await;
    let lane_a = left.bind(&end_a, false).await;
    let mut lane_b = right.bind(&end_b, false).await;
    let before = relay.number(KERNEL);
    // Far more than passes at once at any rate.
    for _ in 0..1_000 {
        lane_a.send(&[7; 1_000]).await;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let judged = || relay.number(KERNEL) - before + relay.number("/drops/lane_rate");
    while judged() < 1_000 {
        assert!(Instant::now() < deadline, "{} of 1000", judged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(relay.number(KERNEL) > before, "by the kernel");
    assert!(relay.number("/drops/lane_rate") > 0);
    lane_b.receive().await;
    // Whose ticket says nothing is not held to it.
    let (dropped, before) = (relay.number("/drops/lane_rate"), relay.number(KERNEL));
    for _ in 0..300 {
        lane_b.send(&[7; 1_000]).await;
    }
    relay.until(KERNEL, before + 300);
    assert_eq!(relay.number("/drops/lane_rate"), dropped);
}
