//! What processes use of the machine.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks a second, of what the kernel shows to processes.
const TICKS: f64 = 100.0;

/// CPU time so far, in seconds, of some processes, with their threads that have ended.
pub(crate) fn cpu_seconds(of: &[u32]) -> Result<f64> {
    let mut ticks = 0u32;
    for process in of {
        let file = format!("/proc/{process}/stat");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        // A name may hold anything but ends with the last parenthesis; the times are the twelfth
        // and thirteenth after it.
        let after = text.rsplit(')').next().unwrap_or_default();
        let times = after.split_whitespace().skip(11).take(2);
        for time in times {
            ticks += time.parse::<u32>().with_context(|| format!("an unreadable {file}"))?;
        }
    }
    Ok(f64::from(ticks) / TICKS)
}

/// Resident memory of some processes, in bytes.
pub(crate) fn memory(of: &[u32]) -> Result<u64> {
    let mut bytes = 0;
    for process in of {
        let file = format!("/proc/{process}/status");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number = number.with_context(|| format!("{file} has no VmRSS"))?;
        bytes += number.parse::<u64>().with_context(|| format!("an unreadable {file}"))? << 10;
    }
    Ok(bytes)
}

/// Thousands of connections are thousands of files.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("raising the limit of open files")
}
