//! TCP by iperf3: one stream and four, either way, and both ways at once.

use anyhow::Result;

use crate::bench::iperf::{self, Received};
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
        let Received { rate, amount } = iperf::run(ends.path(), SECONDS, arguments)?;
        bytes += amount;
        found.push((measure, rate / 1e6));
    }
    if let (Some(before), Some(after)) = (before, ends.cpu_seconds()?) {
        found.push((CPU, (after - before) / (bytes / 1e9)));
    }
    Ok(found)
}
