//! `cargo xtask bench tunnel`: nearwire beside what a user would pick instead, in one run.
//!
//! Two hosts on a veth, both ends on this machine. The implementations take turns, so that what
//! else the machine does meets them alike; a number is the median of the turns.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use netns_tests::wireguard::{Implementation, Pairing, Tunnel, wired_hosts};
use netns_tests::{Host, Lab, UdpEcho};
use serde_json::Value;

use super::{Against, Machine, Reach, Report, Row};
use crate::{packages, process, workspace};

const TURNS: usize = 5;
const ATTEMPTS: usize = 4;
const SECONDS: &str = "3";
const ROUND_TRIPS: usize = 3000;

/// Who takes part, and by what name.
const FIELD: [(Implementation, &str); 4] = [
    (Implementation::Nearwire, "nearwire"),
    (Implementation::WireguardGo, "wireguard-go"),
    (Implementation::Boringtun, "boringtun-cli"),
    (Implementation::Gotatun, "gotatun"),
];

/// What is measured, and in what unit.
const TCP_1: (&str, &str) = ("TCP, 1 stream", "Mbit/s");
const TCP_4: (&str, &str) = ("TCP, 4 streams", "Mbit/s");
const CPU: (&str, &str) = ("CPU, both ends", "s/GB");
const RTT_50: (&str, &str) = ("idle round trip, p50", "us");
const RTT_99: (&str, &str) = ("idle round trip, p99", "us");
const MEMORY: (&str, &str) = ("peak memory", "MiB");
const MEASURES: [(&str, &str); 5] = [TCP_1, TCP_4, CPU, RTT_50, RTT_99];

/// What is compared: the measure, with whom, and the bound on the ratio if there is one.
const COMPARE: [(&str, &str, Option<Reach>); 11] = [
    (TCP_1.0, "wireguard-go", Some(Reach::AtLeast(6.5))),
    (TCP_1.0, "boringtun-cli", Some(Reach::AtLeast(5.5))),
    (TCP_1.0, "gotatun", Some(Reach::AtLeast(4.2))),
    (TCP_1.0, "bare veth", None),
    (TCP_4.0, "wireguard-go", Some(Reach::AtLeast(6.5))),
    (TCP_4.0, "boringtun-cli", Some(Reach::AtLeast(5.5))),
    (TCP_4.0, "gotatun", Some(Reach::AtLeast(4.2))),
    (TCP_4.0, "bare veth", None),
    (CPU.0, "gotatun", Some(Reach::AtMost(0.22))),
    (RTT_50.0, "boringtun-cli", Some(Reach::AtMost(0.7))),
    (RTT_99.0, "boringtun-cli", Some(Reach::AtMost(0.7))),
];

/// Samples by measure and name.
type Samples = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Measures.
pub(super) fn measure() -> Result<Report> {
    packages::ensure(&[
        ("wg", "wireguard-tools"),
        ("ip", "iproute2"),
        ("iperf3", "iperf3"),
        ("wireguard-go", "wireguard-go"),
    ])?;
    packages::from_crates("boringtun-cli", "boringtun-cli", packages::BORINGTUN)?;
    packages::from_crates("gotatun", "gotatun-cli", "0.10.2")?;
    let mut build = workspace::cargo()?;
    process::run(build.args(["build", "--locked", "--release", "--package", "agent"]))?;
    let binary = workspace::Metadata::read()?.target_directory.join("release/nearwire");
    let mut samples = Samples::new();
    for turn in 1..=TURNS {
        eprintln!("turn {turn} of {TURNS}: bare veth");
        let hosts = wired_hosts(&Lab::new("bench")?)?;
        for (measure, streams) in [(TCP_1.0, "1"), (TCP_4.0, "4")] {
            let (rate, _) = iperf(&hosts, "10.0.0.2", streams)?;
            samples.entry((measure, "bare veth")).or_default().push(rate);
        }
        for (implementation, name) in FIELD {
            eprintln!("turn {turn} of {TURNS}: {name}");
            // Some peers now and then end by themselves when they are configured: a turn is tried
            // again, and one that is missed all the same is said and leaves no sample.
            let taken = (0..ATTEMPTS).find_map(|_| {
                take_turn(implementation, &binary)
                    .inspect_err(|error| eprintln!("{name} failed in this turn: {error:#}"))
                    .ok()
            });
            for (measure, value) in taken.unwrap_or_default() {
                samples.entry((measure, name)).or_default().push(value);
            }
        }
    }
    rows(&samples)
}

fn take_turn(
    implementation: Implementation,
    binary: &std::path::Path,
) -> Result<Vec<(&'static str, f64)>> {
    let hosts = wired_hosts(&Lab::new("bench")?)?;
    let start = |host| match implementation {
        Implementation::Nearwire => Tunnel::builder(implementation).program(binary).start(host),
        Implementation::WireguardGo | Implementation::Boringtun | Implementation::Gotatun => {
            Tunnel::start(host, implementation)
        }
    };
    let tunnels = [start(&hosts[0])?, start(&hosts[1])?];
    Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
    hosts[0].run(["ping", "-c", "1", "-W", "5", "10.9.0.2"])?;
    let processes = tunnels.each_ref().map(|tunnel| tunnel.process().id());
    let idle = round_trips(&hosts)?;
    let micros = |quantile| idle.value_at_quantile(quantile) as f64 / 1e3;
    let before = cpu_seconds(&processes)?;
    let (one, bytes) = iperf(&hosts, "10.9.0.2", "1")?;
    let cpu = (cpu_seconds(&processes)? - before) / (bytes / 1e9);
    let (four, _) = iperf(&hosts, "10.9.0.2", "4")?;
    let peaks = processes.iter().map(|id| peak_memory(*id)).collect::<Result<Vec<_>>>()?;
    Ok(vec![
        (RTT_50.0, micros(0.5)),
        (RTT_99.0, micros(0.99)),
        (CPU.0, cpu),
        (TCP_1.0, one),
        (TCP_4.0, four),
        (MEMORY.0, peaks.into_iter().fold(0.0, f64::max)),
    ])
}

/// Mbit/s and bytes that arrived.
fn iperf([from, to]: &[Host; 2], address: &str, streams: &str) -> Result<(f64, f64)> {
    let server = to.spawn(["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_line("listening", Duration::from_secs(5))?;
    let report =
        from.run(["iperf3", "-c", address, "-t", SECONDS, "-P", streams, "-C", "cubic", "--json"])?;
    let report: Value = serde_json::from_str(&report.stdout).context("iperf3's report")?;
    let received = &report["end"]["sum_received"];
    let number = |key: &str| received[key].as_f64().with_context(|| format!("iperf3: no {key}"));
    Ok((number("bits_per_second")? / 1e6, number("bytes")?))
}

/// One question and its answer after the other, in nanoseconds.
fn round_trips([from, to]: &[Host; 2]) -> Result<Histogram<u64>> {
    let echo = UdpEcho::start(to, SocketAddr::from(([10, 9, 0, 2], 7007)))?;
    let any = SocketAddr::from(([10, 9, 0, 1], 0));
    let socket = from.enter(|| std::net::UdpSocket::bind(any))??;
    socket.connect(echo.address())?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut histogram = Histogram::new(3)?;
    let mut buffer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        socket.send(&[7; 64])?;
        socket.recv(&mut buffer).context("an answer was lost on an idle tunnel")?;
        histogram.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(histogram)
}

/// User and system time so far, of all threads.
fn cpu_seconds(processes: &[u32]) -> Result<f64> {
    let ticks = processes.iter().map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("an unreadable stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        // utime and stime, fields 14 and 15 of proc(5), in hundredths of a second.
        Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
    });
    Ok(ticks.sum::<Result<f64>>()? / 100.0)
}

fn peak_memory(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|rest| rest.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("no VmHWM")?.parse::<f64>()? / 1024.0)
}

fn rows(samples: &Samples) -> Result<Report> {
    let of = |measure, name| samples.get(&(measure, name)).cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for (measure, other, reach) in COMPARE {
        let unit = MEASURES.iter().find(|row| row.0 == measure).map_or("", |row| row.1);
        let value = super::median(&of(measure, other)).context("a measure without samples")?;
        let against = Some(Against { name: other.to_owned(), value });
        rows.push(Row::new(measure, unit, of(measure, "nearwire"), against, reach)?);
    }
    rows.push(Row::new(
        MEMORY.0,
        MEMORY.1,
        of(MEMORY.0, "nearwire"),
        None,
        Some(Reach::AtMost(64.0)),
    )?);
    Ok(Report { bench: "tunnel", machine: Machine::here()?, rows })
}
