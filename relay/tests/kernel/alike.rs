//! The kernel's switch and the one in user space make the same of the same datagrams.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use proto::lane::LANE_HEADER_LEN;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::UdpSocket;

use super::hosts::lanes;
use super::scene::{Machine, start};

const DATAGRAMS: usize = 400;
/// Fewer than what a socket has room for.
const AT_ONCE: usize = 20;
const LAST: &[u8] = b"the last one";

/// A datagram at the port of lanes, by one of the two.
struct Sent {
    by_owner: bool,
    bytes: Vec<u8>,
}

/// What anybody might send: of a lane with this header, of none, about one, STUN, and junk.
fn datagrams(header: [u8; LANE_HEADER_LEN], seed: u64) -> Vec<Sent> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut some = |most: usize| -> Vec<u8> {
        let length = random.random_range(0..most);
        (0..length).map(|_| random.random()).collect()
    };
    let mut kinds = SmallRng::seed_from_u64(!seed);
    let mut all = Vec::new();
    for _ in 0..DATAGRAMS {
        let mut front = header.to_vec();
        let by_owner = kinds.random_ratio(9, 10);
        let bytes = match kinds.random_range(0..10) {
            0 => some(40),
            // A bit of the header is another one: another lane, kind or protocol.
            1 => {
                front[kinds.random_range(0..LANE_HEADER_LEN)] ^= 1 << kinds.random_range(0..8);
                [front, some(100)].concat()
            }
            2 => front[..kinds.random_range(0..=LANE_HEADER_LEN)].to_vec(),
            3 => [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &[9; 12][..]].concat(),
            4 => [&[0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42], &[9; 12][..], &some(8)].concat(),
            _ => [front, vec![1], some(1_300)].concat(),
        };
        all.push(Sent { by_owner, bytes });
    }
    all
}

/// What became of them.
struct Outcome {
    /// What arrived at the other end.
    arrived: Vec<Vec<u8>>,
    /// The answers that each sender had, by their first bytes and their length: the rest is of this
    /// lane and this port.
    answers: [Vec<([u8; 4], usize)>; 2],
    counted: Vec<(&'static str, u64)>,
}

/// The answers that a socket has had.
fn answers(socket: &UdpSocket) -> Vec<([u8; 4], usize)> {
    let mut bytes = [0; 2048];
    let received = std::iter::from_fn(|| socket.try_recv(&mut bytes).ok().map(|len| (bytes, len)));
    let mut answers: Vec<_> =
        received.map(|(bytes, len)| (*bytes.first_chunk().expect("it is longer"), len)).collect();
    // What was passed up is answered later than what was not.
    answers.sort_unstable();
    answers
}

async fn outcome(relay: &Machine, v6: [bool; 2], seed: u64) -> Outcome {
    let (_clients, [a, mut b]) = lanes(relay, [1, 2], v6).await;
    let local = a.socket.local_addr().expect("bound").ip();
    let other = relay.hosts[0].run(async move { UdpSocket::bind((local, 0)).await });
    let other = other.await.expect("a socket");
    let mut arrived: Vec<Vec<u8>> = Vec::new();
    for some in datagrams(a.end.header(), seed).chunks(AT_ONCE) {
        for Sent { by_owner, bytes } in some {
            let socket = if *by_owner { &a.socket } else { &other };
            socket.send_to(bytes, a.relay).await.expect("sends");
        }
        a.send(LAST).await;
        arrived.push(b.receive().await);
        while arrived.last().is_none_or(|packet| packet != LAST) {
            arrived.push(b.receive().await);
        }
    }
    let names = ["lane_malformed", "lane_unknown", "lane_source", "lane_rate", "stun_rate"];
    let counted = || {
        let drops = names.map(|name| (name, relay.number(&format!("/drops/{name}"))));
        let others = ["lane_packets", "lane_bytes", "stun_answers"]
            .map(|name| (name, relay.number(&format!("/counters/{name}"))));
        [&drops[..], &others].concat()
    };
    // What was passed up may be behind what was not: until nothing changes any more.
    let mut last = counted();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = counted();
        if now == last {
            let answers = [answers(&a.socket), answers(&other)];
            return Outcome { arrived, answers, counted: now };
        }
        last = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_make_the_same_of_the_same_datagrams() {
    for v6 in [[false, false], [false, true], [true, false], [true, true]] {
        let seed = RandomState::new().build_hasher().finish();
        println!("IPv6 at each end: {v6:?}, seed {seed}");
        let kernel = start("relay-alike", &[], &[]);
        assert_eq!(kernel.status()["lane_switch"], "xdp");
        let by_kernel = outcome(&kernel, v6, seed).await;
        let switched = kernel.number("/counters/kernel_packets");
        drop(kernel);
        let user = start("relay-alike", &[], &["--xdp", "off"]);
        let by_user = outcome(&user, v6, seed).await;
        assert_eq!(by_kernel.counted, by_user.counted);
        assert_eq!(by_kernel.arrived, by_user.arrived);
        assert_eq!(by_kernel.answers, by_user.answers);
        // The other one asks so seldom that chance may leave it out.
        assert!(by_kernel.answers.iter().any(|answers| !answers.is_empty()));
        assert_eq!(switched, by_kernel.arrived.len() as u64, "and none of them by user space");
    }
}
