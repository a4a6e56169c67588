//! The tunnel's steering program on a real multi-queue TUN device: which packet leaves by which
//! queue.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    ffi::c_int,
    fs::{File, OpenOptions},
    io::Read as _,
    net::{IpAddr, UdpSocket},
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
    time::{Duration, Instant},
};

use dataplane::{IndexMask, Shards, Slot, Steering};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
    ioctl::{Opcode, Setter, Updater, ioctl, opcode},
};
use support::namespace::{in_namespace, ip};

/// Packets to this port are the test's; the host sends others of its own accord.
const PORT: u16 = 4_242;

// linux/if_tun.h
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETSTEERINGEBPF: Opcode = opcode::read::<c_int>(b'T', 224);
const IFF_TUN: u16 = 0x0001;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// A TUN device with several queues.
struct Tunnel {
    queues: Vec<File>,
    /// The bytes before each packet.
    header: usize,
}

impl Tunnel {
    /// `nw0`, up and with routes to 10.77/16 and fd77::/16.
    fn open(queues: usize, vnet: bool) -> Self {
        let flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | if vnet { IFF_VNET_HDR } else { 0 };
        let queues = (0..queues).map(|_| open_queue(flags)).collect();
        ip("addr add 10.77.0.1/16 dev nw0");
        ip("-6 addr add fd77::1/16 dev nw0 nodad");
        ip("link set nw0 up");
        Self { queues, header: if vnet { 10 } else { 0 } }
    }

    #[allow(unsafe_code, reason = "an ioctl has no safe form")]
    fn steer_by(&self, program: BorrowedFd<'_>) {
        let program: c_int = program.as_raw_fd();
        // SAFETY: TUNSETSTEERINGEBPF reads one int, the descriptor of a program.
        unsafe { ioctl(&self.queues[0], Setter::<TUNSETSTEERINGEBPF, _>::new(program)) }.unwrap();
    }

    /// The queue by which a packet to this address leaves.
    fn queue_to(&mut self, destination: &str) -> usize {
        let destination: IpAddr = destination.parse().unwrap();
        let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).unwrap().send_to(b"hello", (destination, PORT)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < deadline, "the packet to {destination} left by no queue");
            for (number, queue) in self.queues.iter_mut().enumerate() {
                let mut packet = [0; 2_048];
                // Nothing to read.
                let Ok(length) = queue.read(&mut packet) else { continue };
                if is_to(&packet[self.header..length], destination) {
                    return number;
                }
            }
            let mut fds: Vec<_> =
                self.queues.iter().map(|queue| PollFd::new(queue, PollFlags::IN)).collect();
            let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut fds, Some(&second)).unwrap();
        }
    }
}

fn open_queue(flags: u16) -> File {
    /// `struct ifreq` with `ifr_flags`.
    #[repr(C)]
    struct InterfaceFlags {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let queue = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/net/tun")
        .expect("/dev/net/tun is needed");
    let mut request =
        InterfaceFlags { name: *b"nw0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags, rest: [0; 22] };
    #[allow(unsafe_code, reason = "an ioctl has no safe form")]
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (40 bytes), which InterfaceFlags is.
    unsafe { ioctl(&queue, Updater::<TUNSETIFF, _>::new(&mut request)) }.unwrap();
    queue
}

/// Whether this is the test's packet to that address.
fn is_to(packet: &[u8], destination: IpAddr) -> bool {
    let (addressed, udp) = match destination {
        IpAddr::V4(address) => (packet.get(16..20) == Some(&address.octets()), 20),
        IpAddr::V6(address) => (packet.get(24..40) == Some(&address.octets()), 40),
    };
    addressed && packet.get(udp + 2..udp + 4) == Some(&PORT.to_be_bytes())
}

fn shards(count: u32) -> Shards {
    Shards::new(count).unwrap()
}

fn load(count: u32) -> Steering {
    Steering::load(shards(count), IndexMask::new(0x00c0_ffee)).unwrap_or_else(|e| panic!("{e}"))
}

fn give(steering: &mut Steering, networks: &[(&str, u32)]) {
    let networks = networks.iter().map(|(net, slot)| (net.parse().unwrap(), Slot(*slot)));
    steering.set_networks(networks).unwrap_or_else(|e| panic!("{e}"));
}

/// Every destination with the queue by which it should leave.
fn expect(tunnel: &mut Tunnel, cases: &[(&str, usize)]) {
    for (destination, queue) in cases {
        // More than once: without a program the kernel would guess right now and then.
        for _ in 0..3 {
            assert_eq!(tunnel.queue_to(destination), *queue, "{destination}");
        }
    }
}

fn packets_leave_by_their_peers_queue(vnet: bool) {
    in_namespace(move || {
        let mut tunnel = Tunnel::open(3, vnet);
        let mut steering = load(3);
        give(
            &mut steering,
            &[
                ("10.77.1.0/24", 1),
                ("10.77.1.128/25", 2),
                ("10.77.2.7/32", 5),
                ("10.77.3.0/24", 0x00ff_ffff),
                ("fd77:1::/32", 4),
                ("fd77:1:2::/48", 8),
                ("::/0", 1),
            ],
        );
        tunnel.steer_by(steering.tunnel_program().unwrap());
        expect(
            &mut tunnel,
            &[
                ("10.77.1.1", 1),
                ("10.77.1.127", 1),
                ("10.77.1.128", 2),
                ("10.77.2.7", 2),
                ("10.77.3.1", 0),
                // Nobody's; IPv6's default route does not catch it.
                ("10.77.2.8", 0),
                ("fd77:1::9", 1),
                ("fd77:1:2::9", 2),
                ("fd77:2::9", 1),
            ],
        );
    });
}

#[test]
fn packets_leave_by_their_peers_queue_without_headers() {
    packets_leave_by_their_peers_queue(false);
}

#[test]
fn packets_leave_by_their_peers_queue_with_offload_headers() {
    packets_leave_by_their_peers_queue(true);
}

#[test]
fn shards_and_networks_change_live() {
    in_namespace(|| {
        let mut tunnel = Tunnel::open(3, false);
        let mut steering = load(3);
        tunnel.steer_by(steering.tunnel_program().unwrap());
        expect(&mut tunnel, &[("10.77.1.1", 0), ("fd77:1::1", 0)]);

        give(&mut steering, &[("10.77.1.0/24", 5), ("10.77.1.9/16", 1), ("fd77:1::/32", 2)]);
        expect(&mut tunnel, &[("10.77.1.1", 2), ("10.77.2.1", 1), ("fd77:1::1", 2)]);

        steering.set_shards(shards(2)).unwrap();
        expect(&mut tunnel, &[("10.77.1.1", 1), ("10.77.2.1", 1), ("fd77:1::1", 0)]);
        steering.set_shards(shards(3)).unwrap();

        // One replaced, one removed, one new.
        give(&mut steering, &[("10.77.1.0/24", 4), ("10.77.0.0/16", 1), ("fd77:2::/32", 2)]);
        expect(&mut tunnel, &[("10.77.1.1", 1), ("fd77:1::1", 0), ("fd77:2::1", 2)]);

        // The shorter one shows when the longer one goes; of two equal ones the last counts.
        give(&mut steering, &[("10.77.0.0/16", 1), ("10.77.0.0/16", 2)]);
        expect(&mut tunnel, &[("10.77.1.1", 2), ("fd77:2::1", 0)]);
        give(&mut steering, &[]);
        expect(&mut tunnel, &[("10.77.1.1", 0)]);
    });
}

#[test]
fn ten_thousand_networks_and_one_change() {
    in_namespace(|| {
        let mut tunnel = Tunnel::open(3, false);
        let mut steering = load(3);
        tunnel.steer_by(steering.tunnel_program().unwrap());
        let table = |first: u32| {
            let hosts = (1..10_000u32).map(|host| {
                let address = std::net::Ipv4Addr::from(0x0a4d_0000 + host);
                (ipnet::IpNet::new(address.into(), 32).unwrap(), Slot(host))
            });
            let first = ("10.77.0.2/32".parse().unwrap(), Slot(first));
            hosts.chain([first]).collect::<Vec<_>>()
        };
        steering.set_networks(table(2)).unwrap();
        expect(&mut tunnel, &[("10.77.0.2", 2), ("10.77.0.4", 1), ("10.77.39.15", 0)]);
        steering.set_networks(table(4)).unwrap();
        expect(&mut tunnel, &[("10.77.0.2", 1), ("10.77.0.4", 1), ("10.77.39.15", 0)]);
    });
}
