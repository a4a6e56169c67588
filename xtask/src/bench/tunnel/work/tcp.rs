//! TCP by iperf3: one stream and four, either way, and both ways at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_tests::Process;
use serde_json::Value;

use crate::bench::tunnel::ends::Ends;
use crate::bench::tunnel::measures::{Measure, Sample};

pub(in crate::bench::tunnel) const ONE: Measure = Measure::more("TCP, 1 stream", "Mbit/s");
pub(in crate::bench::tunnel) const FOUR: Measure = Measure::more("TCP, 4 streams", "Mbit/s");
const ONE_BACK: Measure = Measure::more("TCP, 1 stream, reverse", "Mbit/s");
const FOUR_BACK: Measure = Measure::more("TCP, 4 streams, reverse", "Mbit/s");
const BOTH: Measure = Measure::more("TCP, both ways at once, sum", "Mbit/s");
pub(in crate::bench::tunnel) const CPU: Measure =
    Measure::less("CPU seconds per GB of TCP, both ends", "s/GB");

pub(super) const MEASURES: &[Measure] = &[ONE, FOUR, ONE_BACK, FOUR_BACK, BOTH, CPU];

/// How long each runs.
const SECONDS: u32 = 2;

/// Sends in each way; the CPU time is that of all of it.
pub(super) fn measure(ends: &Ends<'_>) -> Result<Vec<Sample>> {
    let before = ends.cpu_seconds()?;
    let mut found = Vec::new();
    let mut bytes = 0.0;
    let works: [(Measure, &[&str]); 5] = [
        (ONE, &["-P", "1"]),
        (FOUR, &["-P", "4"]),
        (ONE_BACK, &["-P", "1", "-R"]),
        (FOUR_BACK, &["-P", "4", "-R"]),
        (BOTH, &["-P", "1", "--bidir"]),
    ];
    for (measure, arguments) in works {
        let Received { rate, amount } = iperf(ends, arguments)?;
        bytes += amount;
        found.push((measure, rate / 1e6));
    }
    if let (Some(before), Some(after)) = (before, ends.cpu_seconds()?) {
        found.push((CPU, (after - before) / (bytes / 1e9)));
    }
    Ok(found)
}

/// What arrived, in all directions.
struct Received {
    /// Bits a second.
    rate: f64,
    /// Bytes.
    amount: f64,
}

fn iperf(ends: &Ends<'_>, arguments: &[&str]) -> Result<Received> {
    let (_server, client) = start(ends, SECONDS, arguments)?;
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
    ends: &Ends<'_>,
    seconds: u32,
    arguments: &[&str],
) -> Result<(Process, Process)> {
    let server = ends.b.spawn(["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_line("listening", Duration::from_secs(5))?;
    let (to, seconds) = (ends.at_b.to_string(), seconds.to_string());
    let words = ["iperf3", "-c", &to, "-t", &seconds, "-C", "cubic", "--json"];
    let client = ends.a.spawn(words.iter().chain(arguments))?;
    Ok((server, client))
}
