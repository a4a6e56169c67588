//! TCP by iperf3, from one host to another.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_tests::{Host, Process};
use serde_json::Value;

/// What arrived, in all directions.
pub(super) struct Received {
    /// Bits a second.
    pub(super) rate: f64,
    /// Bytes.
    pub(super) amount: f64,
}

/// From whom to whom.
#[derive(Clone, Copy)]
pub(super) struct Path<'h> {
    pub(super) from: &'h Host,
    pub(super) to: &'h Host,
    /// Where the second host is reached.
    pub(super) at: Ipv4Addr,
}

/// Sends for so long.
pub(super) fn run(path: Path<'_>, seconds: u32, arguments: &[&str]) -> Result<Received> {
    let (_server, client) = start(path, seconds, arguments)?;
    let report = client.wait(Duration::from_secs(20))?;
    ensure!(report.status.success(), "iperf3: {}{}", report.stdout, report.stderr);
    let report: Value = serde_json::from_str(&report.stdout).context("iperf3's report")?;
    let ways = ["sum_received", "sum_received_bidir_reverse"];
    let ways: Vec<&Value> = ways.iter().filter_map(|way| report["end"].get(way)).collect();
    let sum = |key: &str| {
        let numbers = ways.iter().map(|way| way[key].as_f64());
        let sum = numbers.sum::<Option<f64>>().filter(|sum| *sum > 0.0);
        sum.with_context(|| format!("iperf3 received nothing ({key})"))
    };
    Ok(Received { rate: sum("bits_per_second")?, amount: sum("bytes")? })
}

/// A server and a client that sends to it, for so long.
pub(super) fn start(
    Path { from, to, at }: Path<'_>,
    seconds: u32,
    arguments: &[&str],
) -> Result<(Process, Process)> {
    let server = to.spawn(["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_line("listening", Duration::from_secs(5))?;
    let (at, seconds) = (at.to_string(), seconds.to_string());
    let words = ["iperf3", "-c", &at, "-t", &seconds, "-C", "cubic", "--json"];
    let client = from.spawn(words.iter().chain(arguments))?;
    Ok((server, client))
}
