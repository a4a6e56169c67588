//! What idle clients cost the relay, as the system counts it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use relay::server::Addresses;

use super::client::{Client, Way};
use super::scene::{Relay, control_key_text, holder};

const CLIENTS: u8 = 250;
/// Those before them: few, for what their handshakes needed is given back to the process, and would serve
/// those who are counted.
const FIRST: u8 = 20;

/// A relay in a process of its own.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) relay: Relay,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearwire-relay"));
        command
            .args(["--control-keys", &control_key_text(), "--self-signed", "relay.test"])
            .args(["--quic", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--source-admissions", "2048", "--idle", "600", "--drain-time", "600000"])
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut words = BufReader::new(child.stderr.take().expect("its words")).lines();
        let line = words.find_map(|line| line.ok().filter(|line| line.contains("serving")));
        let line = line.expect("it serves");
        let said = |key: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            found.unwrap_or_else(|| panic!("no {key} in {line}")).trim_matches('"').to_owned()
        };
        let address = |key| said(key).parse().expect("an address");
        let addresses = Addresses {
            quic: Some(address("quic=")),
            tls: address("tls="),
            lanes: None,
            mesh: None,
            admin: Some(address("admin=")),
        };
        // Somebody must read what it says.
        std::thread::spawn(move || words.for_each(drop));
        let fingerprint = said("certificate_sha256=");
        Self { child, relay: Relay { addresses, fingerprint } }
    }

    /// Resident memory of its own, in bytes: not the program's text.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let rollup = std::fs::read_to_string(path).expect("it runs");
        let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:")).expect("a line");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB");
        kib << 10
    }

    /// Bytes that each of so many idle clients costs, after some that have made room for what all share:
    /// buffers of sockets, tables.
    async fn cost(&self, way: Way) -> u64 {
        let _first = self.join(way, 1, FIRST).await;
        let before = self.settled().await;
        let _more = self.join(way, 2, CLIENTS).await;
        let after = self.settled().await;
        let all = u64::from(FIRST) + u64::from(CLIENTS);
        assert_eq!(self.relay.status("/totals/clients").await, all, "some have gone");
        after.saturating_sub(before) / u64::from(CLIENTS)
    }

    async fn join(&self, way: Way, network: u8, count: u8) -> Vec<Client> {
        let mut clients = Vec::new();
        for node in 0..count {
            clients.push(Client::new(&self.relay, way, holder(network, node)).await);
        }
        clients
    }

    /// What is resident when it no longer falls: what handshakes needed is given back.
    async fn settled(&self) -> u64 {
        let mut least = u64::MAX;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let now = self.resident();
            if now < least {
                (least, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        least
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_costs_little() {
    // Of QUIC's, most is quinn-proto's state of a connection and its keys: see docs/relay.md.
    for (way, most) in [(Way::Tls, 20 << 10), (Way::Quic, 24 << 10)] {
        let process = Process::start();
        let cost = process.cost(way).await;
        println!("an idle client on {way:?} costs {cost} bytes");
        assert!(cost <= most, "an idle client on {way:?} costs {cost} bytes, more than {most}");
    }
}
