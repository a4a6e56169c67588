//! `cargo xtask bench control`: thousands of nodes without tunnels on one instance and on two.
//!
//! They speak the real protocol over TLS on loopback, each on a connection of its own. A network
//! grows in steps; at each it is measured what a node costs, and how soon all hear of a change.

mod curve;
mod instance;
mod load;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use throwaway_postgres::{Cluster, Durability};

use super::scratch::Scratch;
use super::stolen::CpuTime;
use super::{Machine, Report, Row};
use crate::packages;
use curve::Curve;
use instance::{Database, Programs};

/// Arguments of `cargo xtask bench control`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Numbers of nodes at which to measure
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 3_000, 10_000])]
    steps: Vec<usize>,
    /// Measure only this; may be given again, or as a list with commas
    #[arg(long, value_name = "SETTING", value_delimiter = ',')]
    only: Vec<Setting>,
    /// Measure this nearwire-control instead of building one
    #[arg(long, value_name = "FILE", env = "NEARWIRE_CONTROL_BIN")]
    binary: Option<PathBuf>,
    /// Load it by this control-load instead of building one
    #[arg(long, value_name = "FILE", env = "CONTROL_LOAD_BIN")]
    load: Option<PathBuf>,
}

/// Instances and their database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Setting {
    /// One instance on SQLite
    Sqlite,
    /// One instance on PostgreSQL
    Postgres,
    /// Two instances on PostgreSQL
    Two,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Two => "two on PostgreSQL",
        }
    }

    const fn instances(self) -> usize {
        match self {
            Self::Sqlite | Self::Postgres => 1,
            Self::Two => 2,
        }
    }
}

/// Measures.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let machine = Machine::here()?;
    packages::ensure(&[("pg_ctlcluster", "postgresql")])?;
    raise_open_files()?;
    let programs = Programs::ready(options.binary.clone(), options.load.clone())?;
    let settings = if options.only.is_empty() { Setting::value_variants() } else { &options.only };
    let (mut rows, mut notes): (Vec<Row>, Vec<String>) = (Vec::new(), conditions());
    let before = CpuTime::now()?;
    for &setting in settings {
        eprintln!("{}", setting.name());
        let curve = grow(setting, &programs, &options.steps)
            .with_context(|| format!("measuring {}", setting.name()))?;
        rows.extend(curve.rows(setting));
        notes.extend(curve.on_paper(setting));
    }
    let stolen = CpuTime::now()?.stolen_since(before);
    notes.push(format!("{stolen:.0} % of the CPU time was withheld by the machine's own host"));
    Ok(Report { bench: "control", machine, rows, notes })
}

fn conditions() -> Vec<String> {
    let note = |text: &str| text.to_owned();
    vec![
        note(
            "one network of clients and ten hubs: the policy lets every client reach every hub, so \
             a hub's move and a policy concern all, a client's move concerns the hubs",
        ),
        note(
            "each node has a TLS connection of its own over loopback; the load runs on the same cores",
        ),
        note("a join is an enrolment, a session, a stream and the first netmap"),
        note(
            "CPU of a change is without what the instances use meanwhile when nothing happens, \
             measured for 10 s before; `with what idleness takes` is all of it",
        ),
        note("memory is resident bytes of all instances over those without nodes, by nodes"),
    ]
}

fn grow(setting: Setting, programs: &Programs, steps: &[usize]) -> Result<Curve> {
    let scratch = Scratch::new()?;
    let cluster = match setting {
        Setting::Sqlite => None,
        Setting::Postgres | Setting::Two => Some(Cluster::start(Durability::Kept)?),
    };
    let database = match &cluster {
        None => Database::Embedded,
        Some(cluster) => Database::At(cluster.database()?),
    };
    let instances = programs.start(&scratch, &database, setting.instances())?;
    let steps = load::run(programs, &scratch, &instances, steps)?;
    Ok(Curve(steps))
}

/// Children inherit it: an instance has a file for each node, the load too.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("raising the limit of open files")
}
