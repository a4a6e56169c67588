//! What strangers send, and how much.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use dataplane::Wire;
use netns_tests::udp_socket;
use rustix::time::{ClockId, clock_gettime};

use super::hosts::lanes;
use super::scene::{HOSTS, LANES, Machine, RELAYS, start};

/// A socket of the left host, and the relay's lanes as it sees them.
fn stranger(relay: &Machine) -> UdpSocket {
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

/// Junk: lanes of nobody, and what is no lane's.
fn junk(relay: &Machine) -> Vec<Vec<u8>> {
    let host = &relay.hosts[0].host;
    let frame = |n: u32| {
        let number = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let magic = if n.is_multiple_of(2) { [0xb7, 0x6e, 0x77, 0] } else { number };
        let length = 9 + usize::try_from(n).expect("small") % 40;
        let payload: Vec<u8> = [magic, number].concat().into_iter().cycle().take(length).collect();
        udp_frame(relay, &payload)
    };
    // So that the relay's host knows its neighbour, and we its interface.
    host.run(["ping", "-c", "1", "-W", "5", RELAYS[0][0]]).expect("an answer");
    (1..=FRAMES).map(frame).collect()
}

/// A datagram of the left host's to the relay's lanes. Its checksum is left out.
fn udp_frame(relay: &Machine, payload: &[u8]) -> Vec<u8> {
    let v4 = |ip: &str| ip.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    let length = |more: usize| u16::try_from(payload.len() + more).expect("short").to_be_bytes();
    let mut ip = vec![0x45, 0];
    ip.extend(length(28));
    ip.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(v4(HOSTS[0][0]));
    ip.extend(v4(RELAYS[0][0]));
    let sum = ip.chunks(2).fold(0, |sum, word| sum + u32::from(word[0]) * 256 + u32::from(word[1]));
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    ip[10..12].copy_from_slice(&(!sum).to_be_bytes());
    let mut frame = relay.mac(0).to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0]);
    frame.extend(ip);
    frame.extend([40_000_u16, LANES].map(u16::to_be_bytes).concat());
    frame.extend(length(8));
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// Kinds of junk, how often each is sent in one go, and how many goes there are.
const FRAMES: u32 = 64;
const TIMES: u32 = 4_096;
const GOES: u32 = 8;
const ALL: u32 = FRAMES * TIMES * GOES;
/// Packets a second that a flood has to come to.
const FLOOD: f64 = 1e6;

/// Floods the relay, as fast as one core can; packets a second of the time that the machine's other
/// programs leave to it. What the relay's kernel does with them is in that time.
fn flood(interface: &str, junk: &[Vec<u8>]) -> f64 {
    let mut wire = Wire::onto(interface).expect("loads");
    let start = clock_gettime(ClockId::ThreadCPUTime);
    for frame in junk.iter().cycle().take(junk.len() * GOES as usize) {
        wire.send(frame, TIMES).expect("floods");
    }
    let spent = clock_gettime(ClockId::ThreadCPUTime) - start;
    f64::from(ALL) / Duration::try_from(spent).expect("forward").as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_junk_costs_a_lane_next_to_nothing() {
    let relay = start("relay-flood", &[], &[]);
    let (_clients, [a, mut b]) = lanes(&relay, [1, 2], [false, false]).await;
    let (host, junk) = (&relay.hosts[0], junk(&relay));
    let interface = &relay.far[0];
    let (rate, sent, lost) = std::thread::scope(|scope| {
        let flood = || host.host.enter(|| flood(interface, &junk)).expect("enters");
        let flood = scope.spawn(flood);
        let (mut sent, mut lost) = (0_u32, 0);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            while !flood.is_finished() {
                runtime.block_on(async {
                    a.send(&sent.to_be_bytes()).await;
                    let arrived = tokio::time::timeout(Duration::from_secs(1), b.receive()).await;
                    lost += u32::from(arrived.is_err());
                });
                sent += 1;
            }
        });
        (flood.join().expect("floods"), sent, lost)
    });
    println!("{rate:.0} junk datagrams a second; {sent} of a lane, {lost} lost");
    assert!(rate >= FLOOD, "only {rate:.0} a second");
    assert!(sent > 100 && lost * 100 <= sent, "{lost} of {sent} lost");
    let dropped = relay.number("/drops/lane_malformed") + relay.number("/drops/lane_unknown");
    assert!(dropped * 10 >= u64::from(ALL) * 9, "{dropped} of {ALL} counted");
    // In time: the process has seen none of it.
    assert!(relay.process.is_running());
}
