//! A hub and four others around a switch, each with a tunnel to the hub.
//!
//! The hub's peers are added in order, so that the other `n` has slot `n`, and its shard is `n`
//! modulo their number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netns_tests::wireguard::{Implementation, PeerSettings, Tunnel, nearwire_program};
use netns_tests::{Host, Lab, Output, ping, tcp_transfer};

use crate::PATIENCE;

/// The hub's addresses inside.
pub(crate) const HUB: [&str; 2] = ["10.9.0.1", "fd09::1"];
/// How many others there are.
pub(crate) const OTHERS: usize = 4;

/// The hosts.
pub(crate) struct Hosts {
    pub(crate) hub: Host,
    pub(crate) others: Vec<Host>,
    _switch: Host,
    _lab: Lab,
}

/// Their tunnels, which know each other and have not talked yet.
pub(crate) struct Star<'h> {
    pub(crate) hub: Tunnel<'h>,
    pub(crate) others: Vec<Tunnel<'h>>,
}

/// The addresses inside of one of the others.
pub(crate) fn inside(number: usize) -> [String; 2] {
    [format!("10.9.0.{}", number + 2), format!("fd09::{}", number + 2)]
}

fn outside(number: usize) -> String {
    format!("10.0.0.{}", number + 2)
}

impl Hosts {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (switch, hub) = (lab.switch("switch")?, lab.host("hub")?);
        lab.link(&hub, &switch).at_a(&["10.0.0.1/24"]).veth()?;
        let others: Vec<Host> =
            (0..OTHERS).map(|number| lab.host(&format!("other{number}"))).collect::<Result<_>>()?;
        for (number, other) in others.iter().enumerate() {
            lab.link(other, &switch).at_a(&[&format!("{}/24", outside(number))]).veth()?;
        }
        for host in others.iter().chain([&hub]) {
            // An interface that goes down would lose those of IPv6.
            host.sysctl("net.ipv6.conf.default.keep_addr_on_down", "1")?;
        }
        Ok(Self { hub, others, _switch: switch, _lab: lab })
    }

    /// The tunnels, the hub's with so many shards. The others know where the hub is; it does not
    /// know where they are.
    pub(crate) fn star(&self, shards: &str) -> Result<Star<'_>> {
        let hub = Tunnel::builder(Implementation::Nearwire).arg("--shards").arg(shards);
        let hub = hub.start(&self.hub)?;
        let [v4, v6] = HUB;
        hub.configure(&[&format!("{v4}/24"), &format!("{v6}/64")])?;
        let mut others = Vec::new();
        for (number, host) in self.others.iter().enumerate() {
            let other = Tunnel::start(host, Implementation::Nearwire)?;
            let [v4, v6] = inside(number);
            other.configure(&[&format!("{v4}/24"), &format!("{v6}/64")])?;
            let theirs = PeerSettings {
                allowed_ips: &format!("{v4}/32,{v6}/128"),
                ..PeerSettings::default()
            };
            hub.add_peer(&other, &theirs)?;
            let endpoint: IpAddr = "10.0.0.1".parse()?;
            let ours = PeerSettings {
                allowed_ips: "10.9.0.1/32,fd09::1/128",
                endpoint: Some(endpoint),
                ..PeerSettings::default()
            };
            other.add_peer(&hub, &ours)?;
            others.push(other);
        }
        Ok(Star { hub, others })
    }
}

impl Star<'_> {
    /// An echo from each of the others, and one to each.
    pub(crate) fn ping_all(&self) -> Result<()> {
        for (number, other) in self.others.iter().enumerate() {
            for (hub, theirs) in HUB.into_iter().zip(inside(number)) {
                ping(other.host(), hub)?;
                ping(self.hub.host(), &theirs)?;
            }
        }
        Ok(())
    }

    /// An echo to each of the others, which they learn the hub's port from.
    pub(crate) fn ping_all_from_the_hub(&self) -> Result<()> {
        (0..OTHERS).try_for_each(|number| ping(self.hub.host(), &inside(number)[0]))
    }

    /// So many bytes over TCP from the hub to one of the others, and as many back; each compared.
    pub(crate) fn transfer(&self, number: usize, bytes: u64) -> Result<()> {
        let (hub, other) = (self.hub.host(), self.others[number].host());
        // The families take turns: half of the peers are asked for by IPv6.
        let family = number % 2;
        let theirs = inside(number)[family].parse()?;
        tcp_transfer(hub, other, theirs, bytes, PATIENCE)?;
        tcp_transfer(other, hub, HUB[family].parse()?, bytes, PATIENCE)?;
        Ok(())
    }

    /// [`Self::transfer`] with all of the others at once.
    pub(crate) fn transfer_all(&self, bytes: u64) -> Result<()> {
        std::thread::scope(|scope| {
            let run = |number| scope.spawn(move || self.transfer(number, bytes));
            let threads: Vec<_> = (0..OTHERS).map(run).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })
    }

    /// When the hub's peers last shook hands, to the nanosecond (`wg` shows seconds).
    pub(crate) fn handshakes(&self) -> Result<Vec<String>> {
        let answer = self.hub.request("get=1")?;
        let times: Vec<_> = answer
            .lines()
            .filter(|line| line.starts_with("last_handshake_time"))
            .map(str::to_owned)
            .collect();
        ensure!(times.len() == 2 * OTHERS, "{answer}");
        ensure!(times.iter().all(|time| !time.ends_with("_sec=0")), "{times:?}");
        Ok(times)
    }

    /// What the hub dropped, by reason.
    pub(crate) fn drops(&self) -> Result<BTreeMap<String, u64>> {
        let output = nearwire(&self.hub, "drops", &["--json"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_str(&output.stdout)?)
    }

    /// What the hub handed over so far.
    pub(crate) fn handed_over(&self) -> Result<u64> {
        Ok(shards(&self.hub, None)?.handed_over)
    }
}

/// What `nearwire shards` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) count: u64,
    pub(crate) handed_over: u64,
}

/// Runs `nearwire COMMAND INTERFACE` with more words, to whatever end.
pub(crate) fn nearwire(tunnel: &Tunnel<'_>, command: &str, words: &[&str]) -> Result<Output> {
    let program = nearwire_program()?;
    let program = program.to_str().context("the path of nearwire is not UTF-8")?;
    tunnel.host().output([&[program, command, tunnel.name()], words].concat())
}

/// Asks for the shards, or sets their number; the answer has just what it should have.
pub(crate) fn shards(tunnel: &Tunnel<'_>, count: Option<u32>) -> Result<Report> {
    let count = count.map(|count| count.to_string());
    let words: Vec<&str> = count.as_deref().into_iter().chain(["--json"]).collect();
    let output = nearwire(tunnel, "shards", &words)?;
    ensure!(output.status.success(), "{output:?}");
    let report: BTreeMap<String, u64> = serde_json::from_str(&output.stdout)?;
    ensure!(report.len() == 2, "{report:?}");
    let number = |name| report.get(name).copied().with_context(|| format!("{report:?}"));
    Ok(Report { count: number("shards")?, handed_over: number("handed_over")? })
}
