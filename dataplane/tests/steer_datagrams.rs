//! The sockets' steering program on a real `SO_REUSEPORT` group: which datagram arrives where.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    env,
    io::{self, ErrorKind},
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    process::Command,
    time::{Duration, Instant},
};

use dataplane::{Error, IndexMask, MAX_SHARDS, ShardId, Shards, Slot, Steering};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt},
};
use support::namespace::{in_namespace, ip};

const MASK: IndexMask = IndexMask::new(0x00c0_ffee);
const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE_REPLY: u8 = 3;
const DATA: u8 = 4;

/// A bound dual-stack socket.
fn bound(port: u16, shared: bool) -> io::Result<UdpSocket> {
    // Programs that other tests start are not to hold it.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(socket.into())
}

/// Sockets of one port. The first one is bound alone, so that a port in use is an error, and only
/// then lets others in: the kernel makes the group when the second one comes.
fn group(count: usize) -> Vec<UdpSocket> {
    let first = bound(0, false).unwrap();
    sockopt::set_socket_reuseport(&first, true).unwrap();
    let port = port(&first);
    let mut sockets = vec![first];
    sockets.resize_with(count, || bound(port, true).unwrap());
    sockets
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// Waits until so many sockets have this port.
fn wait_for_sockets(port: u16, count: usize) {
    let at_port = format!(":{port:04X}");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let table = std::fs::read_to_string("/proc/thread-self/net/udp6").unwrap();
        let locals = table.lines().filter_map(|line| line.split_whitespace().nth(1));
        let found = locals.filter(|local| local.ends_with(&at_port)).count();
        if found == count {
            return;
        }
        assert!(Instant::now() < deadline, "{found} sockets have the port, not {count}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn shards(count: u32) -> Shards {
    Shards::new(count).unwrap()
}

fn load(count: u32) -> Steering {
    Steering::load(shards(count), MASK).unwrap_or_else(|error| panic!("{error}"))
}

/// Puts a whole group under the program.
fn steer(steering: &mut Steering, sockets: &[UdpSocket]) {
    for (shard, socket) in (0..).map(ShardId).zip(sockets) {
        steering.set_socket(shard, socket.as_fd()).unwrap_or_else(|error| panic!("{error}"));
    }
    steering.attach_sockets(sockets[0].as_fd()).unwrap_or_else(|error| panic!("{error}"));
}

/// Runs in a namespace of its own that has a loopback interface.
fn with_loopback(test: impl FnOnce() + Send + 'static) {
    in_namespace(|| {
        ip("link set lo up");
        test();
    });
}

/// A message to the peer in this slot, all of it that steering looks at. Where the index is not,
/// other shards are named.
fn message(kind: u8, slot: u32, counter: u8) -> Vec<u8> {
    let at = if kind == RESPONSE { 8 } else { 4 };
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend([0xa5; 60]);
    bytes[at..at + 4].copy_from_slice(&MASK.index(Slot(slot), counter).to_le_bytes());
    bytes
}

/// Sends a datagram from a fresh port, and returns which socket it arrived at.
fn arrival(sockets: &[UdpSocket], from: &str, datagram: &[u8]) -> usize {
    let sender = UdpSocket::bind((from, 0)).unwrap();
    arrival_from(&sender, sockets, datagram)
}

fn arrival_from(sender: &UdpSocket, sockets: &[UdpSocket], datagram: &[u8]) -> usize {
    let to = (sender.local_addr().unwrap().ip(), port(&sockets[0]));
    assert_eq!(sender.send_to(datagram, to).unwrap(), datagram.len());
    let mut fds: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let deadline = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&deadline)).unwrap(), 1, "one arrival of {datagram:?}");
    let at = fds.iter().position(|fd| !fd.revents().is_empty()).unwrap();
    let mut received = [0; 65_536];
    let length = sockets[at].recv(&mut received).unwrap();
    assert_eq!(&received[..length], datagram);
    at
}

const BOTH: [&str; 2] = ["127.0.0.1", "::1"];

#[test]
fn messages_arrive_at_the_shard_that_they_name() {
    with_loopback(|| {
        let sockets = group(3);
        let mut steering = load(3);
        steer(&mut steering, &sockets);
        for from in BOTH {
            for slot in [0, 1, 2, 3, 4, 5, 1_000, 70_001, 0x00ff_fffe] {
                for kind in [RESPONSE, COOKIE_REPLY, DATA] {
                    for counter in [0, 0xff] {
                        let at = arrival(&sockets, from, &message(kind, slot, counter));
                        assert_eq!(at, slot as usize % 3, "kind {kind}, slot {slot}, from {from}");
                    }
                }
            }
        }
    });
}

#[test]
fn what_names_no_shard_arrives_at_the_first() {
    with_loopback(|| {
        let sockets = group(3);
        let mut steering = load(3);
        steer(&mut steering, &sockets);
        let mut reserved = message(DATA, 1, 0);
        reserved[3] = 1;
        for from in BOTH {
            for slot in 0..8 {
                assert_eq!(arrival(&sockets, from, &message(INITIATION, slot, 0)), 0);
                assert_eq!(arrival(&sockets, from, &message(9, slot, 0)), 0);
            }
            for junk in [&[][..], &[DATA, 0, 0], &message(DATA, 1, 0)[..11], &reserved] {
                assert_eq!(arrival(&sockets, from, junk), 0, "{junk:?}");
            }
        }
    });
}

#[test]
fn fewer_shards_then_more() {
    with_loopback(|| {
        let mut sockets = group(3);
        let mut steering = load(3);
        steer(&mut steering, &sockets);
        let expect = |sockets: &[UdpSocket], count: u32| {
            for slot in 0..6 {
                let at = arrival(sockets, "::1", &message(DATA, slot, 0));
                assert_eq!(at, (slot % count) as usize, "slot {slot} of {count} shards");
            }
        };
        expect(&sockets, 3);

        steering.set_shards(shards(2)).unwrap();
        expect(&sockets, 2);
        let left = sockets.pop().unwrap();
        let port = port(&left);
        drop(left);
        expect(&sockets, 2);

        sockets.push(bound(port, true).unwrap());
        steering.set_socket(ShardId(2), sockets[2].as_fd()).unwrap();
        steering.set_shards(shards(3)).unwrap();
        expect(&sockets, 3);
    });
}

#[test]
fn a_shard_without_a_socket_costs_no_datagram() {
    with_loopback(|| {
        let mut sockets = group(3);
        let mut steering = load(3);
        steer(&mut steering, &sockets);
        drop(sockets.pop());
        // A process that another test is just starting may hold it a moment longer.
        wait_for_sockets(port(&sockets[0]), sockets.len());
        for slot in 0..9 {
            // It arrives, wherever the kernel's hash says.
            let at = arrival(&sockets, "127.0.0.1", &message(DATA, slot, 0));
            assert!(slot % 3 == 2 || at == slot as usize % 3, "slot {slot} at {at}");
        }
        // Nor does it when the loader is gone: the kernel keeps the program.
        drop(steering);
        assert_eq!(arrival(&sockets, "::1", &message(DATA, 1, 0)), 1);
    });
}

#[test]
fn all_move_to_another_port() {
    with_loopback(|| {
        let old = group(3);
        let mut steering = load(3);
        steer(&mut steering, &old);
        let new = group(3);
        steer(&mut steering, &new);
        for slot in 0..6 {
            assert_eq!(arrival(&new, "::1", &message(DATA, slot, 0)), slot as usize % 3);
            // At the old port the program finds no socket of its group: the hash chooses.
            arrival(&old, "::1", &message(DATA, slot, 0));
        }
    });
}

#[test]
fn joined_datagrams_arrive_together() {
    with_loopback(|| {
        const SEGMENT: u16 = 1_200;
        let sockets = group(3);
        for socket in &sockets {
            set_udp_option(socket, libc::UDP_GRO, 1);
        }
        let mut steering = load(3);
        steer(&mut steering, &sockets);
        for from in BOTH {
            let sender = UdpSocket::bind((from, 0)).unwrap();
            set_udp_option(&sender, libc::UDP_SEGMENT, SEGMENT.into());
            for slot in 0..6 {
                let mut segment = message(DATA, slot, 0);
                segment.resize(SEGMENT.into(), 0x5a);
                // Received by one call: a super-packet, whose payload is outside its first buffer.
                let at = arrival_from(&sender, &sockets, &segment.repeat(20));
                assert_eq!(at, slot as usize % 3, "slot {slot}, from {from}");
            }
        }
    });
}

#[allow(unsafe_code, reason = "these options have no safe form")]
fn set_udp_option(socket: &UdpSocket, option: i32, value: i32) {
    // SAFETY: the option is an int, four bytes; `value` is one and lives through the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), 4)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn the_port_stays_taken() {
    const PORT: &str = "NEARWIRE_TEST_TAKEN_PORT";
    let refused = |port: u16| {
        let plain = [bound(port, false), UdpSocket::bind(("0.0.0.0", port))];
        for error in plain.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        }
    };
    // As the other program that this test starts.
    if let Ok(port) = env::var(PORT) {
        return refused(port.parse().unwrap());
    }
    with_loopback(move || {
        let sockets = group(3);
        steer(&mut load(3), &sockets);
        refused(port(&sockets[0]));
        let mut other = Command::new(env::current_exe().unwrap());
        other.args(["--exact", "the_port_stays_taken"]).env(PORT, port(&sockets[0]).to_string());
        let output = other.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    });
}

#[test]
fn sockets_that_do_not_fit_are_refused_with_a_reason() {
    with_loopback(|| {
        let mut steering = load(3);
        let alone = bound(0, false).unwrap();
        let error = steering.set_socket(ShardId(1), alone.as_fd()).unwrap_err();
        assert!(matches!(error, Error::ShardSocket { shard: ShardId(1), .. }), "{error}");
        let error = steering.attach_sockets(alone.as_fd()).unwrap_err();
        assert!(matches!(error, Error::SocketGroup { .. }), "{error}");

        let sockets = group(2);
        let beyond = ShardId(MAX_SHARDS);
        assert!(steering.set_socket(beyond, sockets[0].as_fd()).is_err());
        steering.set_socket(ShardId(0), sockets[0].as_fd()).unwrap();
        let error = steering.set_socket(ShardId(1), sockets[0].as_fd()).unwrap_err();
        assert!(error.to_string().contains("no other shard's"), "{error}");
    });
}
