//! Running `control-load` beside the instances.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::instance::{Instances, Programs};
use crate::bench::scratch::Scratch;

/// What was found with so many nodes, as `control-load` prints it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Found {
    pub(super) nodes: u32,
    pub(super) joins: f64,
    pub(super) join_cpu: f64,
    pub(super) memory: f64,
    pub(super) for_all: Spread,
    pub(super) for_few: Spread,
    pub(super) policy: Spread,
    pub(super) idle: f64,
}

/// Seconds until nodes heard of a change, and CPU seconds that it cost: beyond what the instances use
/// when nothing happens, and with that.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) cpu: f64,
    pub(super) gross: f64,
    pub(super) concerned: u32,
}

pub(super) fn run(
    programs: &Programs,
    scratch: &Scratch,
    instances: &Instances,
    steps: &[usize],
) -> Result<Vec<Found>> {
    let mut command = Command::new(&programs.load);
    command.arg("grow").arg("--certificate").arg(scratch.path().join("certificate.pem"));
    for instance in &instances.all {
        command.args(["--url", &instance.url, "--pid", &instance.pid().to_string()]);
    }
    let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
    command.args(["--steps", &steps.join(",")]).env("NEARWIRE_TOKEN", &instances.token);
    let output = command.stderr(Stdio::inherit()).output().context("running control-load")?;
    ensure!(output.status.success(), "control-load failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("control-load printed no text")?;
    let read = |line: &str| {
        serde_json::from_str(line).with_context(|| format!("control-load printed {line:?}"))
    };
    text.lines().map(read).collect()
}
