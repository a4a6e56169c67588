//! The switch between real sockets: hosts on veth pairs, a relay with one or two interfaces.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;
#[path = "support/namespace.rs"]
mod namespace;

use std::{
    ffi::CString,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use dataplane::{Egress, Error, Lane, LaneId, LaneOptions, LaneSwitch, XdpMode};
use lanes_support::{PORT, data, end, number, options};
use namespace::{in_namespace, ip};

const ONE: u32 = number(1);
const OTHER: u32 = number(2);

/// A host in a namespace of its own, at the far end of a veth pair `relay` of this one.
struct Host {
    namespace: String,
    /// Our end of the pair.
    relay: &'static str,
    /// What a veth sends back arrives only where there is a program to receive it: this one gives
    /// all to the host.
    receiver: Option<LaneSwitch>,
}

impl Host {
    fn new(relay: &'static str, addresses: [&str; 2], relays: [&str; 2]) -> Self {
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let count = HOSTS.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("nw-lanes-{}-{count}", std::process::id());
        ip(&format!("netns add {namespace}"));
        let mut host = Self { namespace, relay, receiver: None };
        ip(&format!("link add {relay} type veth peer name host netns {}", host.namespace));
        for address in relays {
            ip(&format!("addr add {address} dev {relay}{}", nodad(address)));
        }
        ip(&format!("link set {relay} up"));
        for address in addresses {
            host.ip(&format!("addr add {address} dev host{}", nodad(address)));
        }
        host.ip("link set host up");
        let receiver = host.enter(|| {
            // What another interface redirects arrives only where packets are joined (GRO), and a
            // checksum that is left to the hardware is never made.
            ethtool("host", ETHTOOL_SGRO, 1);
            ethtool("host", ETHTOOL_STXCSUM, 0);
            let elsewhere = LaneOptions { port: 1, ..options() };
            let mut receiver = LaneSwitch::load(elsewhere).unwrap();
            receiver.attach("host", XdpMode::Driver).unwrap();
            receiver
        });
        host.receiver = Some(receiver);
        host
    }

    fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.namespace));
    }

    /// Does this as one of the host's programs.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    fn socket(&self, address: &str) -> UdpSocket {
        let socket = self.enter(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.receiver.take());
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// IPv6 addresses are tried out before they are used, which takes a second.
fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

// linux/ethtool.h, linux/sockios.h
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SGRO: u32 = 0x2c;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// Sets an offload of an interface of this thread's namespace.
#[allow(unsafe_code, reason = "an ioctl has no safe form")]
fn ethtool(interface: &str, command: u32, value: u32) {
    let mut request: libc::ifreq = {
        // SAFETY: plain data, for which zeros will do.
        unsafe { std::mem::zeroed() }
    };
    let name = CString::new(interface).unwrap();
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = libc::c_char::try_from(*from).unwrap();
    }
    let mut setting = [command, value];
    request.ifr_ifru.ifru_data = setting.as_mut_ptr().cast();
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::]:0")).unwrap();
    // SAFETY: an ifreq that points to a `struct ethtool_value`; both live through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    assert_eq!(result, 0, "{interface}: {command:#x}: {}", io::Error::last_os_error());
}

/// The hardware address of an interface of this namespace, or of a host's.
fn mac(host: Option<&Host>, interface: &str) -> [u8; 6] {
    let namespace = host.map_or(vec![], |host| vec!["-n", &host.namespace]);
    let mut command = Command::new("ip");
    let output = command.args(namespace).args(["-br", "link", "show", interface]).output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let text = output.split_whitespace().nth(2).unwrap();
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn index(interface: &str) -> u32 {
    let any = UdpSocket::bind("[::]:0").unwrap();
    rustix::net::netdevice::name_to_index(&any, interface).unwrap()
}

const MODES: [XdpMode; 2] = [XdpMode::Driver, XdpMode::Generic];

/// The switch on these interfaces, whose addresses are the relay's.
fn relay(interfaces: &[&str], mode: XdpMode, locals: &[&str]) -> LaneSwitch {
    let mut switch = LaneSwitch::load(options()).unwrap_or_else(|error| panic!("{error}"));
    switch.set_locals(locals.iter().map(|local| local.parse().unwrap())).unwrap();
    for interface in interfaces {
        switch.attach(interface, mode).unwrap_or_else(|error| panic!("{error}"));
    }
    switch
}

/// One side of a lane: the address of the end, and of the relay that it talks to.
type Side = (SocketAddr, SocketAddr);

fn joined(switch: &mut LaneSwitch, one: (Side, Egress), other: (Side, Egress)) {
    let at = |(remote, relay): Side| end(&remote.to_string(), &relay.to_string());
    for (id, here, onward, there) in [(ONE, one, OTHER, other), (OTHER, other, ONE, one)] {
        let lane = Lane::unbound(LaneId(id), at(here.0)).bound_to(LaneId(onward), at(there.0));
        switch.insert(lane.leaving_by(there.1).with_mtu(1_500)).unwrap();
    }
}

/// Datagrams of many sizes go both ways, whole, and are all that is counted.
fn exchange(switch: &LaneSwitch, [one, other]: [&UdpSocket; 2], [a, b]: [SocketAddr; 2]) {
    let before = switch.totals().unwrap();
    let mut buffer = [0; 2_000];
    let lengths = [1, 2, 32, 33, 148, 1_000, 1_300];
    for length in lengths {
        let payload: Vec<u8> =
            (0..length).map(|n: u32| (n * 7 + length).to_le_bytes()[0]).collect();
        for (from, relay, id, to, arrives_from, arrives_as) in
            [(one, a, ONE, other, b, OTHER), (other, b, OTHER, one, a, ONE)]
        {
            from.send_to(&data(id, &payload), relay).unwrap();
            let (received, source) = to.recv_from(&mut buffer).unwrap();
            assert_eq!(source, arrives_from);
            assert_eq!(buffer[..received], data(arrives_as, &payload));
        }
    }
    let after = switch.totals().unwrap();
    assert_eq!(after.packets, before.packets + 2 * lengths.len() as u64);
    assert_eq!(after.drops, before.drops);
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[test]
fn two_hosts_behind_one_interface() {
    for mode in MODES {
        in_namespace(move || {
            let addresses = ["10.7.0.2/24", "fd07::2/64"];
            let host = Host::new("veth0", addresses, ["10.7.0.1/24", "fd07::1/64"]);
            let mut switch = relay(&["veth0"], mode, &["10.7.0.1", "fd07::1"]);
            let relays = [at(&format!("10.7.0.1:{PORT}")), at(&format!("[fd07::1]:{PORT}"))];
            let ends = ["10.7.0.2:5001", "[fd07::2]:5002", "10.7.0.2:5003", "[fd07::2]:5004"];
            for (a, b) in [(0, 2), (0, 1), (1, 3)] {
                let (a, b) = ((ends[a], relays[a % 2]), (ends[b], relays[b % 2]));
                let sockets = [a, b].map(|(end, _)| host.socket(end));
                joined(&mut switch, ((at(a.0), a.1), Egress::Back), ((at(b.0), b.1), Egress::Back));
                exchange(&switch, [&sockets[0], &sockets[1]], [a.1, b.1]);
            }
        });
    }
}

#[test]
fn hosts_behind_two_interfaces() {
    for mode in MODES {
        in_namespace(move || {
            let left =
                Host::new("left", ["10.7.0.2/24", "fd07::2/64"], ["10.7.0.1/24", "fd07::1/64"]);
            let right =
                Host::new("right", ["10.8.0.2/24", "fd08::2/64"], ["10.8.0.1/24", "fd08::1/64"]);
            let locals = ["10.7.0.1", "fd07::1", "10.8.0.1", "fd08::1"];
            let mut switch = relay(&["left", "right"], mode, &locals);
            let way = |host: &Host| Egress::Neighbour {
                interface: index(host.relay),
                source: mac(None, host.relay),
                destination: mac(Some(host), "host"),
            };
            let lefts = [("10.7.0.2:5001", "10.7.0.1"), ("[fd07::2]:5001", "[fd07::1]")];
            let rights = [("10.8.0.2:5002", "10.8.0.1"), ("[fd08::2]:5002", "[fd08::1]")];
            let sockets_left = lefts.map(|(end, _)| left.socket(end));
            let sockets_right = rights.map(|(end, _)| right.socket(end));
            for ((one, one_relay), sender) in lefts.iter().zip(&sockets_left) {
                for ((other, other_relay), receiver) in rights.iter().zip(&sockets_right) {
                    let relays =
                        [one_relay, other_relay].map(|relay| at(&format!("{relay}:{PORT}")));
                    joined(
                        &mut switch,
                        ((at(one), relays[0]), way(&left)),
                        ((at(other), relays[1]), way(&right)),
                    );
                    exchange(&switch, [sender, receiver], relays);
                }
            }
            // An interface that is taken off is no way any more, and the reason says so.
            switch.detach("right").unwrap();
            let [_, sender] = sockets_left;
            sender.send_to(&data(ONE, &[1; 32]), format!("[fd07::1]:{PORT}")).unwrap();
            let gone = || switch.totals().unwrap().dropped(dataplane::DropReason::LaneEgress);
            let start = std::time::Instant::now();
            while gone() == 0 && start.elapsed() < Duration::from_secs(5) {
                std::thread::yield_now();
            }
            assert_eq!(gone(), 1);
        });
    }
}

#[test]
fn the_host_still_gets_what_is_its_own() {
    for mode in MODES {
        in_namespace(move || {
            let addresses = ["10.7.0.2/24", "fd07::2/64"];
            let host = Host::new("veth0", addresses, ["10.7.0.1/24", "fd07::1/64"]);
            let switch = relay(&["veth0"], mode, &["10.7.0.1", "fd07::1"]);
            assert_eq!(switch.attached().collect::<Vec<_>>(), [("veth0", mode)]);
            for (end, local) in [("10.7.0.2:5001", "10.7.0.1"), ("[fd07::2]:5001", "[fd07::1]")] {
                let sender = host.socket(end);
                let mut buffer = [0; 100];
                for port in [PORT, PORT + 1] {
                    let relay = format!("{local}:{port}");
                    let receiver = UdpSocket::bind(&relay).unwrap();
                    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    // A bind, and something that is no lane's on another port.
                    let message = lanes_support::message(1, ONE, &[5; 56]);
                    sender.send_to(&message, &relay).unwrap();
                    let (length, source) = receiver.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], source), (&message[..], at(end)));
                }
                // STUN needs no program to listen.
                let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], b"twelve bytes"].concat();
                sender.send_to(&request, format!("{local}:{PORT}")).unwrap();
                let (length, _) = sender.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..2], [1, 1]);
                assert_eq!(length, if local.starts_with('[') { 44 } else { 32 });
            }
            assert_eq!(switch.totals().unwrap().answers, 2);
        });
    }
}

#[test]
fn an_interface_that_cannot_be_had_is_named() {
    in_namespace(|| {
        ip("link set lo up");
        ip("link add veth0 type veth peer name veth1");
        let mut switch = LaneSwitch::load(options()).unwrap();
        for (interface, why) in [("lo", "loopback"), ("nw9", "No such device")] {
            let error = switch.attach(interface, XdpMode::Generic).unwrap_err();
            assert!(matches!(error, Error::AttachXdp { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(interface) && text.contains(why), "{text}");
        }
        switch.attach("veth0", XdpMode::Driver).unwrap();
        let error = LaneSwitch::load(options()).unwrap().attach("veth0", XdpMode::Driver);
        assert!(error.unwrap_err().to_string().contains("busy"));
        drop(switch);
        LaneSwitch::load(options()).unwrap().attach("veth0", XdpMode::Generic).unwrap();
    });
}
