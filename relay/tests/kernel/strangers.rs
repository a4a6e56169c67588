//! What strangers send, and how much.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netns_tests::udp_socket;
use quinn_udp::{Transmit, UdpSocketState};

use super::hosts::lanes;
use super::scene::{HOSTS, LANES, RELAYS, start};

/// A socket of the left host, and the relay's lanes as it sees them.
fn stranger(relay: &super::scene::Machine) -> UdpSocket {
    let address = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
    let host = &relay.hosts[0].host;
    let socket = udp_socket(host, address(HOSTS[0][0], 0)).expect("a socket");
    socket.connect(address(RELAYS[0][0], LANES)).expect("connects");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_dropped_and_counted() {
    let relay = start("relay-strangers", &[], &[]);
    let (_clients, [a, mut b]) = lanes(&relay, [1, 2], [false, true]).await;
    let stranger = stranger(&relay);
    let header = a.end.header();
    let mut unknown = header;
    unknown[7] ^= 64;
    for (bytes, reason) in [
        ([&header[..], b"spoofed"].concat(), "lane_source"),
        ([&unknown[..], b"nobody's"].concat(), "lane_unknown"),
        (b"GET / HTTP/1.1".to_vec(), "lane_malformed"),
        (header.to_vec(), "lane_malformed"),
    ] {
        let path = format!("/drops/{reason}");
        let before = relay.number(&path);
        stranger.send(&bytes).expect("sends");
        relay.until(&path, before + 1);
    }
    let metrics = relay.page("/metrics");
    for line in [
        "nearwire_relay_drops_total{reason=\"lane_source\"} 1",
        "nearwire_relay_xdp_interfaces{mode=\"driver\"} 2",
    ] {
        assert!(metrics.lines().any(|got| got == line), "no {line:?} in\n{metrics}");
    }
    a.send(b"ours").await;
    assert_eq!(b.receive().await, b"ours");
    let busiest = &relay.status()["busiest_lanes"][0];
    assert_eq!((&busiest["packets"], &busiest["drops"]["lane_source"]), (&1.into(), &1.into()));
}

#[test]
fn ordinary_stun_clients_are_answered() {
    let relay = start("relay-stun", &[], &[]);
    for (family, ip) in RELAYS[0].into_iter().enumerate() {
        let host = &relay.hosts[0].host;
        let output = host.run(["turnutils_stunclient", "-p", "3478", ip]).expect("an answer");
        let said = output.stdout + &output.stderr;
        assert!(said.contains(HOSTS[0][family]), "{said}");
    }
    assert!(relay.number("/counters/stun_answers") >= 2, "{}", relay.status());
}

/// The most that one flood may be.
const DATAGRAMS: u32 = 2_000_000;
const SEGMENTS: u32 = 64;
const FLOOD_TIME: Duration = Duration::from_secs(3);

/// Sends junk of every length, as fast as one core can; how many, and in which time.
fn flood(socket: &UdpSocket) -> (u32, Duration) {
    let state = UdpSocketState::new(socket.into()).expect("a socket");
    let destination = socket.peer_addr().expect("connected");
    let batches: Vec<(usize, Vec<u8>)> = (9..40)
        .map(|length| {
            // Lanes of nobody, and what is no lane's.
            let junk = (0..SEGMENTS).flat_map(|n| {
                let number = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
                let magic = if n % 2 == 0 { [0xb7, 0x6e, 0x77, 0] } else { number };
                [magic, number].concat().into_iter().cycle().take(length)
            });
            (length, junk.collect())
        })
        .collect();
    let start = Instant::now();
    let mut sent = 0;
    for (length, contents) in batches.iter().cycle() {
        if sent >= DATAGRAMS || start.elapsed() >= FLOOD_TIME {
            break;
        }
        let segment_size = Some(*length);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        // A full queue of the host's own is none of the relay's.
        sent += if state.try_send(socket.into(), &transmit).is_ok() { SEGMENTS } else { 0 };
    }
    (sent, start.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_junk_costs_a_lane_next_to_nothing() {
    let relay = start("relay-flood", &[], &[]);
    let (_clients, [a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    let socket = stranger(&relay);
    let flood = std::thread::spawn(move || flood(&socket));
    let (mut sent, mut lost) = (0_u32, 0);
    while !flood.is_finished() {
        a.send(&sent.to_be_bytes()).await;
        sent += 1;
        let arrived = tokio::time::timeout(Duration::from_secs(1), b.receive()).await;
        lost += u32::from(arrived.is_err());
    }
    let (junk, time) = flood.join().expect("floods");
    println!("{junk} junk datagrams in {time:?}; {sent} of a lane, {lost} lost");
    assert!(sent > 100 && lost * 100 <= sent, "{lost} of {sent} lost");
    let dropped = relay.number("/drops/lane_malformed") + relay.number("/drops/lane_unknown");
    assert!(dropped * 10 >= u64::from(junk) * 9, "{dropped} of {junk} counted");
    // In time: the process has seen none of it.
    assert!(relay.process.is_running());
}
