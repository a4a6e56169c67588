//! What the relay uses of the machine.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// CPU time so far, in seconds, of all threads.
pub(crate) fn cpu_seconds(of: &[u32]) -> Result<f64> {
    let mut nanoseconds = 0u64;
    for process in of {
        let tasks = format!("/proc/{process}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let time = text.split(' ').next().unwrap_or_default();
            nanoseconds += time.parse::<u64>().context("an unreadable schedstat")?;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "hours of nanoseconds are exact")]
    Ok(nanoseconds as f64 / 1e9)
}

/// Resident memory, in bytes.
pub(crate) fn memory(of: &[u32]) -> Result<u64> {
    let mut bytes = 0;
    for process in of {
        let file = format!("/proc/{process}/status");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        // Kernel threads have no such line.
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        bytes += number.map_or(Ok(0), str::parse::<u64>)? << 10;
    }
    Ok(bytes)
}

/// Thousands of clients are thousands of files.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("raising the limit of open files")
}
