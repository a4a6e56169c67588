//! A network that grows in steps; at each it is measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use control_client::Trust;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::admin::Admin;
use crate::crowd::Crowd;
use crate::usage;

/// Times a change of each kind is made.
const FOR_ALL: usize = 5;
const FOR_FEW: usize = 200;
const POLICIES: u16 = 3;
/// How long nothing happens while idleness is measured.
const IDLE: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_secs(1);
const SETTLED: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// An instance; again for others of the same database
    #[arg(long, required = true)]
    url: Vec<String>,
    /// Its process, of which memory and CPU time are told; again for others
    #[arg(long, required = true)]
    pid: Vec<u32>,
    /// The file with the instances' certificate
    #[arg(long)]
    certificate: PathBuf,
    /// Numbers of nodes at which to measure
    #[arg(long, value_delimiter = ',', required = true)]
    steps: Vec<usize>,
    /// How many of them every client may reach
    #[arg(long, default_value_t = 10)]
    hubs: usize,
}

/// One step.
#[derive(Serialize)]
struct Found {
    nodes: usize,
    /// Nodes that enrolled and got their first netmap, a second.
    joins: f64,
    /// CPU seconds of the instances for each of them.
    join_cpu: f64,
    /// Resident bytes for each node.
    memory: f64,
    /// A change that concerns all.
    for_all: Spread,
    /// One that concerns the hubs.
    for_few: Spread,
    /// A policy, which concerns all.
    policy: Spread,
    /// CPU seconds a second when nothing happens.
    idle: f64,
}

/// Seconds until nodes heard of a change, and what it cost.
#[derive(Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
    /// CPU seconds of the instances for each change, without what they use when nothing happens.
    cpu: f64,
    /// With it.
    gross: f64,
    /// Nodes that each change concerned.
    concerned: usize,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let trust = Trust::File(options.certificate.clone());
    // Not an argument: those are everybody's to read.
    let token = std::env::var("NEARWIRE_TOKEN").context("NEARWIRE_TOKEN is not set")?;
    let first = options.url.first().context("no instance")?;
    let admin = Admin::new(first, &trust, token, "load").await?;
    let mut crowd = Crowd::new(options.url.clone(), trust, &admin).await?;
    let empty = usage::memory(&options.pid)?;
    crowd.add_hubs(options.hubs).await?;
    for nodes in &options.steps {
        let found = step(&mut crowd, &admin, &options, *nodes, empty).await?;
        println!("{}", serde_json::to_string(&found)?);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "thousands of nodes and gigabytes are exact")]
async fn step(
    crowd: &mut Crowd,
    admin: &Admin,
    options: &Options,
    nodes: usize,
    empty: u64,
) -> Result<Found> {
    let cpu = || usage::cpu_seconds(&options.pid);
    let now = || Ok::<_, anyhow::Error>(Reading { cpu: cpu()?, at: Instant::now() });
    let before = cpu()?;
    let (added, took) = crowd.grow_to(nodes).await.context("growing")?;
    crowd.board.quiet(QUIET, SETTLED).await?;
    let join_cpu = (cpu()? - before) / added.max(1) as f64;
    let joins = added as f64 / took.as_secs_f64();
    eprintln!("{nodes} nodes: {joins:.0} a second, {} lines", crowd.board.lines());

    let before = now()?;
    tokio::time::sleep(IDLE).await;
    let idle = now()?.rate_since(&before);

    let mut all = Tally::begin(now()?)?;
    for _ in 0..FOR_ALL {
        all.add(crowd.move_hub().await.context("a hub moved")?)?;
    }
    let for_all = all.finish(&now()?, idle);
    let mut few = Tally::begin(now()?)?;
    for number in 0..FOR_FEW {
        few.add(crowd.move_client(number % crowd.clients.len()).await.context("a client moved")?)?;
    }
    let for_few = few.finish(&now()?, idle);
    let mut policies = Tally::begin(now()?)?;
    for number in 0..POLICIES {
        let heard = crowd.change_policy(admin, 8000 + number).await;
        policies.add(heard.context("another policy")?)?;
    }
    let policy = policies.finish(&now()?, idle);

    crowd.board.quiet(QUIET, SETTLED).await?;
    let memory = usage::memory(&options.pid)?.saturating_sub(empty) as f64 / nodes as f64;
    Ok(Found { nodes, joins, join_cpu, memory, for_all, for_few, policy, idle })
}

/// The CPU time of the instances at a moment.
struct Reading {
    cpu: f64,
    at: Instant,
}

impl Reading {
    fn rate_since(&self, before: &Self) -> f64 {
        (self.cpu - before.cpu) / (self.at - before.at).as_secs_f64()
    }
}

/// Changes of one kind.
struct Tally {
    heard: Histogram<u64>,
    begun: Reading,
    changes: usize,
    concerned: usize,
}

#[allow(clippy::cast_precision_loss, reason = "minutes in microseconds are exact")]
impl Tally {
    fn begin(begun: Reading) -> Result<Self> {
        let heard = Histogram::new(3).context("making a histogram")?;
        Ok(Self { heard, begun, changes: 0, concerned: 0 })
    }

    fn add(&mut self, delays: Vec<Duration>) -> Result<()> {
        self.changes += 1;
        self.concerned = delays.len();
        for delay in delays {
            let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            self.heard.record(micros).context("a delay beyond all bounds")?;
        }
        Ok(())
    }

    fn finish(self, now: &Reading, idle: f64) -> Spread {
        let gross = now.cpu - self.begun.cpu;
        let own = gross - idle * (now.at - self.begun.at).as_secs_f64();
        let each = |cpu: f64| cpu / self.changes.max(1) as f64;
        let at = |quantile| self.heard.value_at_quantile(quantile) as f64 / 1e6;
        Spread {
            p50: at(0.5),
            p99: at(0.99),
            max: self.heard.max() as f64 / 1e6,
            cpu: each(own.max(0.0)),
            gross: each(gross),
            concerned: self.concerned,
        }
    }
}
