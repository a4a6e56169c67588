//! Running `relay-load` beside a relay.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_tests::Process;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::programs::Programs;
use super::scene::{Listens, Scene};

/// Longer than any load takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A relay at work, and how it is spoken to.
pub(super) struct Target<'s> {
    pub(super) scene: &'s Scene,
    pub(super) process: Option<&'s Process>,
    pub(super) way: &'static str,
    pub(super) at: Listens,
}

/// Datagrams of one size, so many in a batch, by so many pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Load {
    pub(super) pairs: u32,
    pub(super) size: u32,
    pub(super) segments: u32,
}

/// What became of a load.
#[derive(Deserialize)]
pub(super) struct Carried {
    #[serde(flatten)]
    pub(super) load: Load,
    packets: u64,
    seconds: f64,
    cpu_seconds: f64,
}

/// Round trips, in microseconds.
#[derive(Deserialize)]
pub(super) struct Trips {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Resident memory, in bytes.
#[derive(Deserialize)]
pub(super) struct Memory {
    count: u64,
    before: u64,
    after: u64,
}

/// What part of its half each of two senders got.
#[derive(Deserialize)]
pub(super) struct Shares {
    pub(super) modest: f64,
    pub(super) greedy: f64,
}

#[allow(clippy::cast_precision_loss, reason = "seconds of packets and bytes are exact")]
impl Carried {
    /// A second of a core of the relay.
    pub(super) fn packets_per_core(&self) -> Result<f64> {
        ensure!(self.packets > 0, "nothing came through");
        ensure!(self.cpu_seconds > 0.0, "the relay took no CPU time");
        Ok(self.packets as f64 / self.cpu_seconds)
    }

    /// What part of the time the relay's core was busy.
    pub(super) fn busy(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }
}

#[allow(clippy::cast_precision_loss, reason = "gigabytes are exact")]
impl Memory {
    /// Bytes of each.
    pub(super) fn each(&self) -> f64 {
        self.after.saturating_sub(self.before) as f64 / self.count.max(1) as f64
    }
}

impl Target<'_> {
    /// Runs a command of `relay-load`.
    pub(super) fn run<T: DeserializeOwned>(
        &self,
        programs: &Programs,
        name: &str,
        arguments: &[String],
    ) -> Result<T> {
        let mut command = self.scene.client_command(&programs.load)?;
        command.env("RUST_BACKTRACE", "0");
        command.args([name, "--way", self.way, "--relay", &self.at.address().to_string()]);
        command.args(["--of", &self.scene.workers(self.process)]).args(arguments);
        let output = self.scene.clients.spawn_command(command)?.wait(PATIENCE)?;
        ensure!(output.status.success(), "relay-load {name}: {}", output.stderr.trim());
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("relay-load {name} printed {:?}", output.stdout))
    }

    pub(super) fn carry(&self, programs: &Programs, loads: &[Load]) -> Result<Vec<Carried>> {
        let text = |Load { pairs, size, segments }: &Load| format!("{pairs}:{size}x{segments}");
        let loads: Vec<String> = loads.iter().map(text).collect();
        self.run(programs, "throughput", &["--load".to_owned(), loads.join(",")])
    }
}
