//! Grants taken back while packets flow: how long the receiver still gets what it may no longer get,
//! and whether anybody else's packets are lost meanwhile.
//!
//! Sender, receiver and the command that changes the policy are told by one clock, in this process.

mod flow;
mod sockets;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use netns_tests::{Host, wireguard::Tunnel};
use serde_json::Value;

use super::apply::apply;
use super::dialects;
use super::ends::{Ends, hosts};
use super::flood::column;
use super::rules::{HERE, Protocol, Rules, THERE};
use super::samples::{Measure, NEARWIRE};
use super::{Bench, Found};
use crate::bench::scratch::Scratch;
use crate::bench::{Reach, Row};
use flow::Flow;

/// Changes in a turn, each of which takes the grants away and gives them back.
const CHANGES: u32 = 20;
/// Other rules beside.
const RULES: u32 = 1000;
/// After a change it is listened for so long: a lost TCP segment is sent again within.
const LISTEN: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);
/// A flow is alive when so many packets more have arrived.
const ALIVE: u64 = 20;

const KINDS: [&str; 3] = ["TCP", "UDP", "ICMP"];

/// What the stream does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Some 60 Mbit/s.
    Steady,
    /// All that the tunnel carries.
    LineRate,
}

impl Load {
    const ALL: [Self; 2] = [Self::Steady, Self::LineRate];

    const fn between_writes(self) -> Duration {
        match self {
            Self::Steady => Duration::from_millis(2),
            Self::LineRate => Duration::ZERO,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Steady => "",
            Self::LineRate => ", TCP at line rate",
        }
    }

    fn last_packet(self, kind: &str) -> Measure {
        Measure::new(format!("revoked, last packet of live {kind}{}", self.name()), "ms")
    }

    fn command(self) -> Measure {
        Measure::new(format!("the command that revokes{}", self.name()), "ms")
    }

    fn lost(self) -> Measure {
        let name = format!("packets of other flows lost in a turn of 20 changes{}", self.name());
        Measure::new(name, "packets")
    }
}

pub(super) fn measure(bench: &mut Bench) {
    for load in Load::ALL {
        let dropped = Cell::new(None);
        bench.once(&format!("grants revoked{}", load.name()), |bench| {
            let (found, note) = turn(&bench.nearwire, load)?;
            dropped.set(Some(note));
            Ok(found)
        });
        dropped.take().into_iter().for_each(|note| bench.notes.add(note));
    }
}

pub(super) fn rows(bench: &Bench) -> Vec<Row> {
    Load::ALL.into_iter().flat_map(|load| rows_under(load, bench)).collect()
}

fn rows_under(load: Load, Bench { samples, turns, .. }: &Bench) -> Vec<Row> {
    let quantile = |measure: &Measure, name: &str, quantile: f64, reach| {
        let all = samples.of(measure, NEARWIRE);
        let value = quantile_of(&all, quantile);
        let title = format!("{}, {name}", measure.name());
        let mut row = Row::new(title, "ms", value.into_iter().collect(), None, reach);
        row.samples = all;
        row
    };
    let mut rows = Vec::new();
    let command = load.command();
    for measure in KINDS.map(|kind| load.last_packet(kind)).iter().chain([&command]) {
        let bound = (*measure != command).then_some(Reach::AtMost(50.0));
        rows.push(quantile(measure, "p50", 0.5, None));
        rows.push(quantile(measure, "p99", 0.99, bound));
        rows.push(quantile(measure, "max", 1.0, None));
    }
    let all = Reach::AtLeast(f64::from(turns * CHANGES));
    let made = samples.of(&command, NEARWIRE).len();
    #[allow(clippy::cast_precision_loss, reason = "some hundred changes")]
    let title = format!("grants revoked under load{}", load.name());
    rows.push(Row::new(title, "times", vec![made as f64], None, Some(all)));
    let each = samples.of(&load.lost(), NEARWIRE);
    let most = each.iter().copied().reduce(f64::max);
    let mut row = samples.alone(&load.lost(), None);
    row = Row::new(row.name, row.unit, most.into_iter().collect(), None, Some(Reach::AtMost(0.0)));
    row.samples = each;
    rows.push(row);
    rows
}

/// To the microsecond, of milliseconds; nothing of nothing.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positive times below a minute"
)]
fn quantile_of(millis: &[f64], quantile: f64) -> Option<f64> {
    let mut micros = Histogram::<u64>::new(3).ok()?;
    for millis in millis {
        micros.record((millis * 1e3) as u64).ok()?;
    }
    (!micros.is_empty()).then(|| micros.value_at_quantile(quantile) as f64 / 1e3)
}

/// The two documents: with and without the grants of the live flows.
struct Documents {
    _folder: Scratch,
    granted: PathBuf,
    revoked: PathBuf,
}

impl Documents {
    fn write() -> Result<Self> {
        let rules = Rules::new(RULES, Protocol::Tcp);
        let grant = |from, to, port: &str, protocol| {
            format!(
                "{{\"action\":\"accept\",\"src\":[\"{from}\"],\"dst\":[\"{to}:{port}\"],\
                 \"proto\":\"{protocol}\"}},\n"
            )
        };
        let [forth, back] = sockets::BYSTANDERS.map(|port| port.to_string());
        let always = grant(THERE, HERE, &forth, "udp") + &grant(HERE, THERE, &back, "udp");
        let taken = grant(THERE, HERE, &sockets::TCP.to_string(), "tcp")
            + &grant(THERE, HERE, &sockets::UDP.to_string(), "udp")
            + &grant(THERE, HERE, "*", "icmp");
        let folder = Scratch::new()?;
        Ok(Self {
            granted: folder
                .file("granted", &dialects::nearwire(&rules, &(always.clone() + &taken)))?,
            revoked: folder.file("revoked", &dialects::nearwire(&rules, &always))?,
            _folder: folder,
        })
    }
}

/// Twenty changes on a tunnel of their own; besides the numbers, what was dropped for want of room.
fn turn(nearwire: &Path, load: Load) -> Result<(Vec<Found>, String)> {
    let (documents, hosts) = (Documents::write()?, hosts()?);
    let ends = Ends::connect(&hosts, nearwire, Some(&documents.granted))?;
    let (udp, icmp) = (sockets::udp(&ends)?, sockets::icmp(&ends)?);
    let bystanders = sockets::bystanders(&ends)?;
    let mut found = Vec::new();
    for _ in 0..CHANGES {
        let tcp = sockets::tcp(&ends, load.between_writes())?;
        let flows = [&tcp, &udp, &icmp];
        for flow in flows.into_iter().chain(&bystanders) {
            flow.wait_for(ALIVE, PATIENCE).context("before a change")?;
        }
        found.extend(revoke(&ends, nearwire, &documents, flows, load)?);
        // What is sent to it again must not pass as soon as it is granted again.
        drop(tcp);
        apply(&ends, nearwire, &documents.granted)?;
    }
    let mut missing = 0;
    for flow in bystanders {
        let (sent, received) = flow.finish();
        missing += sent - received;
    }
    #[allow(clippy::cast_precision_loss, reason = "some thousand packets")]
    found.push((load.lost(), NEARWIRE, missing as f64));
    Ok((found, dropped(&ends)?))
}

/// Takes the grants away and sees when the last packet comes.
fn revoke(
    ends: &Ends<'_>,
    nearwire: &Path,
    documents: &Documents,
    flows: [&Flow; 3],
    load: Load,
) -> Result<Vec<Found>> {
    let started = Instant::now();
    let took = apply(ends, nearwire, &documents.revoked)?;
    let sent = flows.map(Flow::sent);
    thread::sleep(LISTEN);
    let mut found = vec![(load.command(), NEARWIRE, took)];
    for (kind, flow) in KINDS.into_iter().zip(flows) {
        let last = flow.last().context("nothing ever arrived")?;
        let after = last.saturating_duration_since(started);
        found.push((load.last_packet(kind), NEARWIRE, after.as_secs_f64() * 1e3));
    }
    // TCP's sender waits for acknowledgements; the others must have gone on in vain.
    for (flow, before) in flows.iter().zip(sent).skip(1) {
        ensure!(flow.sent() > before + ALIVE, "nothing was sent after the change");
    }
    Ok(found)
}

/// What tunnels and sockets dropped: of these a lost packet could be, and not of the policy.
fn dropped(ends: &Ends<'_>) -> Result<String> {
    let mut text = String::from("revoke: dropped for want of room:");
    for (host, tunnel) in [(ends.a, &ends.tunnel_a), (ends.b, &ends.tunnel_b)] {
        let sockets = host.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let full = |name| column(&sockets, "Udp:", name).unwrap_or_default();
        let (received, sent) = (full("RcvbufErrors"), full("SndbufErrors"));
        let tunnel = tunnel_drops(host, tunnel)?;
        text += &format!(" {}: sockets {received} in, {sent} out, tunnel {tunnel};", host.name());
    }
    Ok(text)
}

/// What the tunnel counts, by reason.
fn tunnel_drops(host: &Host, tunnel: &Tunnel<'_>) -> Result<Value> {
    let program = tunnel.process().command_line();
    let program = program.split(' ').nth(1).context("a command line without a program")?;
    let output = host.run([program, "drops", tunnel.name(), "--json"])?;
    Ok(serde_json::from_str(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_changes() {
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        let near = |quantile: f64, wanted: f64| {
            let found = quantile_of(&times, quantile).unwrap();
            assert!((found - wanted).abs() < 0.2, "{quantile}: {found}");
        };
        near(0.5, 50.0);
        near(0.99, 99.0);
        near(1.0, 100.0);
        assert_eq!(quantile_of(&[], 0.5), None);
    }
}
