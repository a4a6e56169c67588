//! CPU time of a tunnel's process.

use std::fs;

use anyhow::{Context, Result};
use netns_tests::wireguard::Tunnel;

/// User and system time so far, of all threads, in seconds.
pub(super) fn of(tunnel: &Tunnel<'_>) -> Result<f64> {
    let stat = format!("/proc/{}/stat", tunnel.process().id());
    let text = fs::read_to_string(&stat).with_context(|| format!("reading {stat}"))?;
    // utime and stime, fields 14 and 15 of proc(5), in hundredths of a second; a name with spaces
    // stands before.
    let times = text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(2));
    let ticks = times.with_context(|| format!("{stat}: no name in brackets"))?;
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>();
    Ok(ticks.with_context(|| format!("{stat}: no times"))? / 100.0)
}
