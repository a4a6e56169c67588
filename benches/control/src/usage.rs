//! What processes use of the machine.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// CPU time so far, in seconds, of all threads of some processes.
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
