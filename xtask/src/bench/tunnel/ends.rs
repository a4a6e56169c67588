//! Two hosts, and a tunnel between them if a tunnel is what is measured.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use netns_tests::Host;
use netns_tests::wireguard::{Pairing, Tunnel};

use super::field::Contestant;
use crate::bench::{cpu_time, iperf};

/// Both ends of what carries the traffic.
pub(super) struct Ends<'h> {
    pub(super) a: &'h Host,
    pub(super) b: &'h Host,
    /// Where the second host is reached by what is measured.
    pub(super) at_b: Ipv4Addr,
    tunnels: Option<[Tunnel<'h>; 2]>,
}

impl<'h> Ends<'h> {
    /// Raises a contestant's tunnel, if it has one, and sees that it carries packets.
    pub(super) fn raise([a, b]: &'h [Host; 2], contestant: &Contestant) -> Result<Self> {
        let Some(recipe) = &contestant.tunnel else {
            return Ok(Self { a, b, at_b: Ipv4Addr::new(10, 0, 0, 2), tunnels: None });
        };
        let tunnels = [recipe.start(a)?, recipe.start(b)?];
        Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
        a.run(["ping", "-c", "1", "-W", "5", "10.9.0.2"])?;
        Ok(Self { a, b, at_b: Ipv4Addr::new(10, 9, 0, 2), tunnels: Some(tunnels) })
    }

    /// From the first host to the second.
    pub(super) fn path(&self) -> iperf::Path<'_> {
        iperf::Path { from: self.a, to: self.b, at: self.at_b }
    }

    /// User and system time of both tunnels so far; none without tunnels.
    pub(super) fn cpu_seconds(&self) -> Result<Option<f64>> {
        let Some(tunnels) = &self.tunnels else { return Ok(None) };
        tunnels.iter().map(cpu_time::of).sum::<Result<f64>>().map(Some)
    }

    /// The most memory that either tunnel ever had, in MiB; none without tunnels.
    pub(super) fn peak_memory(&self) -> Result<Option<f64>> {
        let Some(tunnels) = &self.tunnels else { return Ok(None) };
        let peaks = tunnels.iter().map(peak_memory).collect::<Result<Vec<_>>>()?;
        Ok(peaks.into_iter().reduce(f64::max))
    }
}

/// The most memory that a tunnel's process ever had, in MiB.
pub(super) fn peak_memory(tunnel: &Tunnel<'_>) -> Result<f64> {
    let status = format!("/proc/{}/status", tunnel.process().id());
    let text = fs::read_to_string(&status).with_context(|| format!("reading {status}"))?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kibibytes = kibibytes.with_context(|| format!("{status}: no VmHWM: has it ended?"))?;
    Ok(kibibytes.parse::<f64>()? / 1024.0)
}
