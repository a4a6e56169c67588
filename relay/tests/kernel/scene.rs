//! A relay with two interfaces, and a host behind each.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dataplane::{Allowance, LaneOptions, LaneSwitch, XdpMode};
use netns_tests::{Host, Lab, Process};
use proto::key::PublicKey;
use proto::ticket::{ControlKeyId, NetworkId, SignedTicket, SigningKey, Ticket, UnixSeconds};
use relay::server::Addresses;

use super::hosts::Remote;

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The MTU of most links.
const ETHERNET: u32 = 1500;
const ADMIN: &str = "127.0.0.1:9443";
pub(crate) const LANES: u16 = 3478;

/// The relay's addresses towards each host: IPv4, then IPv6.
pub(crate) const RELAYS: [[&str; 2]; 2] = [["10.1.0.1", "fd01::1"], ["10.2.0.1", "fd02::1"]];
pub(crate) const HOSTS: [[&str; 2]; 2] = [["10.1.0.2", "fd01::2"], ["10.2.0.2", "fd02::2"]];

/// A relay, as its clients know it.
pub(crate) struct Relay {
    pub(crate) addresses: Addresses,
    pub(crate) fingerprint: String,
}

/// Someone who holds keys and a ticket.
pub(crate) struct Holder {
    pub(crate) key: PublicKey,
    pub(crate) identity: SigningKey,
    pub(crate) ticket: SignedTicket,
}

/// The relay's host and process.
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) process: Process,
    pub(crate) hosts: [Remote; 2],
    /// Its interfaces, one for each host.
    pub(crate) interfaces: [String; 2],
    /// Those of the hosts, at the other ends.
    pub(crate) far: [String; 2],
    fingerprint: String,
    /// What a veth sends back arrives only where a program receives it: these give all to the host.
    receivers: Vec<LaneSwitch>,
    lab: Lab,
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("every seed is a key")
}

pub(crate) fn wall() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixSeconds(since.expect("after 1970").as_secs())
}

pub(crate) fn holder(node: u8) -> Holder {
    holder_at(node, 0)
}

/// One that may send so many bytes a second, if not 0.
pub(crate) fn holder_at(node: u8, node_rate: u64) -> Holder {
    let key = PublicKey::from([node; 32]);
    let ticket = Ticket {
        network: NetworkId([1; 16]),
        node: key,
        identity: signing_key(node).verifying_key(),
        not_after: UnixSeconds(wall().0 + 600),
        node_rate,
        network_rate: 0,
        lanes: 0,
    };
    let signed = ticket.sign(ControlKeyId(1), &signing_key(250));
    Holder { key, identity: signing_key(node), ticket: signed }
}

/// A program that gives everything to the host.
fn receiver(interface: &str) -> LaneSwitch {
    let options =
        LaneOptions { capacity: 1, clients: 1, port: 1, answers: Some(Allowance::new(1, 1)) };
    let mut receiver = LaneSwitch::load(options).expect("loads");
    receiver.attach(interface, XdpMode::Driver).expect("attaches");
    receiver
}

/// Two hosts with the relay between, whose program is started by these words (`setpriv ...`).
pub(crate) fn start(name: &str, before: &[&str], flags: &[&str]) -> Machine {
    start_with(name, before, flags, ETHERNET)
}

/// As [`start`], with links of this MTU.
pub(crate) fn start_with(name: &str, before: &[&str], flags: &[&str], mtu: u32) -> Machine {
    let lab = Lab::new(name).expect("a lab");
    let host = lab.host("relay").expect("a host");
    let mut receivers = Vec::new();
    let (mut interfaces, mut far_ends) = (Vec::new(), Vec::new());
    let hosts = [0, 1].map(|side| {
        let remote = lab.host(["left", "right"][side]).expect("a host");
        let lengths = |[v4, v6]: [&str; 2]| [format!("{v4}/24"), format!("{v6}/64")];
        let (near, far) = (lengths(RELAYS[side]), lengths(HOSTS[side]));
        let link = lab
            .link(&host, &remote)
            .at_a(&near.each_ref().map(String::as_str))
            .at_b(&far.each_ref().map(String::as_str))
            .mtu(mtu)
            .without_tx_checksum_offload()
            .veth()
            .expect("a link");
        // In generic mode frames are sent as any others.
        let receiver = (mtu == ETHERNET).then(|| remote.enter(|| receiver(&link.device_b)));
        receivers.extend(receiver.transpose().expect("enters"));
        for gateway in RELAYS[side] {
            remote.route("default", gateway).expect("a route");
        }
        interfaces.push(link.device_a);
        far_ends.push(link.device_b);
        Remote::new(remote, side)
    });
    let key = PublicKey::from(signing_key(250).verifying_key().0).to_base64();
    let key = format!("1:{key}");
    let lanes: Vec<String> = RELAYS
        .as_flattened()
        .iter()
        .map(|ip| SocketAddr::new(ip.parse().expect("an address"), LANES).to_string())
        .collect();
    let mut words: Vec<&str> = before.to_vec();
    let lanes = lanes.join(",");
    words.extend([env!("CARGO_BIN_EXE_nearwire-relay"), "--control-keys", &key]);
    words.extend(["--self-signed", "relay.test", "--drain-time", "100", "--admin", ADMIN]);
    words.extend(["--quic", "0.0.0.0:443", "--tls", "0.0.0.0:443", "--lanes", "[::]:3478"]);
    if !flags.contains(&"--lane-addresses") {
        words.extend(["--lane-addresses", &lanes]);
    }
    words.extend(["--lane-lifetime", "5"]);
    words.extend(flags);
    let process = host.spawn(words).expect("starts");
    let line = process.wait_for_line("serving", SOON).expect("serves");
    // In colours or not.
    let mut words = line.rsplit(|c: char| !c.is_ascii_hexdigit());
    let fingerprint = words.find(|word| word.len() == 64).expect("a fingerprint");
    Machine {
        host,
        process,
        hosts,
        interfaces: interfaces.try_into().expect("two"),
        far: far_ends.try_into().expect("two"),
        fingerprint: fingerprint.to_owned(),
        receivers,
        lab,
    }
}

impl Machine {
    /// The hardware address of the interface on this side.
    pub(crate) fn mac(&self, side: usize) -> [u8; 6] {
        let words = ["-o", "link", "show", &self.interfaces[side]];
        let shown = self.host.ip(words).expect("an interface").stdout;
        let (_, mac) = shown.split_once("link/ether ").expect("of Ethernet");
        let bytes = mac[..17].split(':').map(|byte| u8::from_str_radix(byte, 16));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().expect("bytes");
        bytes.try_into().expect("six")
    }

    /// Deletes the interface on this side, and whatever hung on it.
    pub(crate) fn unplug(&self, side: usize) {
        self.host.ip(["link", "delete", &self.interfaces[side]]).expect("deletes");
    }

    /// Makes it anew, with the same name.
    pub(crate) fn plug(&mut self, side: usize) {
        let remote = &self.hosts[side].host;
        let link = self
            .lab
            .link(&self.host, remote)
            .at_a(&[&format!("{}/24", RELAYS[side][0])])
            .at_b(&[&format!("{}/24", HOSTS[side][0])])
            .without_tx_checksum_offload()
            .veth()
            .expect("a link");
        self.receivers.push(remote.enter(|| receiver(&link.device_b)).expect("enters"));
        let (new, name) = (&link.device_a, &self.interfaces[side]);
        self.host.ip(["link", "set", new, "down"]).expect("is down");
        self.host.ip(["link", "set", new, "name", name]).expect("is renamed");
        self.host.ip(["link", "set", name, "up"]).expect("is up");
    }

    /// Gives the interface on this side another name.
    pub(crate) fn rename(&mut self, side: usize, name: &str) {
        let is = &self.interfaces[side];
        self.host.ip(["link", "set", is, "down"]).expect("is down");
        self.host.ip(["link", "set", is, "name", name]).expect("is renamed");
        self.host.ip(["link", "set", name, "up"]).expect("is up");
        self.interfaces[side] = name.to_owned();
    }

    /// The relay as the host on this side sees it.
    pub(crate) fn seen_from(&self, side: usize) -> Relay {
        let at = SocketAddr::new(RELAYS[side][0].parse().expect("an address"), 443);
        let addresses = Addresses { quic: Some(at), tls: at, lanes: None, mesh: None, admin: None };
        Relay { addresses, fingerprint: self.fingerprint.clone() }
    }

    pub(crate) fn page(&self, path: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(ADMIN)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        self.host.enter(ask).expect("enters").expect("answers")
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let page = self.page("/status");
        let (_, body) = page.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    pub(crate) fn number(&self, path: &str) -> u64 {
        let number = self.status().pointer(path).and_then(serde_json::Value::as_u64);
        number.unwrap_or_else(|| panic!("no number {path}"))
    }

    /// Waits until a number of /status is this, at least.
    pub(crate) fn until(&self, path: &str, wanted: u64) {
        let deadline = Instant::now() + SOON;
        while self.number(path) < wanted {
            assert!(Instant::now() < deadline, "{path} stays below {wanted}: {}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a program of XDP is on its interfaces.
    pub(crate) fn has_xdp(&self) -> bool {
        self.interfaces.iter().any(|name| {
            self.host.ip(["link", "show", name]).expect("an interface").stdout.contains("xdp")
        })
    }
}
