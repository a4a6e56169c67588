//! `cargo xtask bench policy`: what the policy costs, how fast it changes, and whether it is right;
//! beside nftables and iptables with the same rules.
//!
//! All that are compared have their turn one after the other; a number is the median of the turns.

mod apply;
mod compile;
mod connections;
mod dialects;
mod ends;
mod equality;
mod filters;
mod flood;
mod revoke;
mod rules;
mod samples;
mod throughput;
mod verdicts;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use super::notes::Notes;
use super::stolen::CpuTime;
use super::{Machine, Report, Row};
use crate::packages::{self, FOR_TUNNELS};
use crate::{process, workspace};
use samples::{Measure, Samples};

/// Arguments of `cargo xtask bench policy`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many turns each part has; fewer than 5 are a glance, no measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Measure only this part; may be given again, or as a list with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// The most rules that are measured
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2000..=131_072))]
    rules: u32,
    /// Measure this nearwire instead of building one
    #[arg(long, value_name = "FILE", env = "NEARWIRE_BIN")]
    binary: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The kernel's program alone, on single packets
    TestRun,
    /// TCP through the tunnel
    Throughput,
    /// New connections a second
    Connections,
    /// The time until a changed policy is in force
    Apply,
    /// The time until the last packet of what is no longer allowed
    Revoke,
    /// From a large document to tables
    Compile,
    /// The tables against the document, ten million packets
    Equality,
}

/// What is tried again after an error: a machine that stood still for a moment.
const ATTEMPTS: u32 = 2;

/// A number that was found: what, of whom.
type Found = (Measure, &'static str, f64);

/// A run of the bench.
struct Bench {
    nearwire: PathBuf,
    turns: u32,
    /// How many rules are measured: few, many, most.
    sizes: [u32; 3],
    samples: Samples,
    notes: Notes,
}

/// Measures.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let machine = Machine::here()?;
    packages::ensure(FOR_TUNNELS)?;
    packages::ensure(filters::NEEDS)?;
    let mut bench = Bench {
        nearwire: options.binary.clone().map_or_else(workspace::build_nearwire, Ok)?,
        turns: options.turns,
        sizes: [10, 1000, options.rules],
        samples: Samples::default(),
        notes: conditions(options.turns)?.into(),
    };
    let parts = if options.only.is_empty() { Part::value_variants() } else { &options.only };
    let before = CpuTime::now()?;
    for turn in 1..=options.turns {
        // Once is enough for what is right or wrong.
        let parts = parts.iter().filter(|part| turn == 1 || **part != Part::Equality);
        for part in parts {
            eprintln!("turn {turn} of {}: {part:?}", options.turns);
            part.measure(&mut bench);
        }
    }
    let stolen = CpuTime::now()?.stolen_since(before);
    bench
        .notes
        .add(format!("{stolen:.0} % of the CPU time was withheld by the machine's own host"));
    let rows = parts.iter().flat_map(|part| part.rows(&bench)).collect();
    Ok(Report { bench: "policy", machine, rows, notes: bench.notes.into_vec() })
}

fn conditions(turns: u32) -> Result<Vec<String>> {
    let mut notes = vec![
        "both ends on this machine, joined by a veth; XDP not attached; congestion control cubic"
            .to_owned(),
        format!("medians of {turns} turns, in which those that are compared alternate"),
    ];
    for program in ["nft", "iptables", "iptables-legacy", "ipset"] {
        let version = process::stdout(std::process::Command::new(program).arg("--version"))?;
        notes.push(version.lines().next().unwrap_or(program).to_owned());
    }
    Ok(notes)
}

impl Part {
    /// Measures once.
    fn measure(self, bench: &mut Bench) {
        match self {
            Self::TestRun => verdicts::measure(bench),
            Self::Throughput => throughput::measure(bench),
            Self::Connections => {
                connections::measure(bench);
                flood::measure(bench);
            }
            Self::Apply => apply::measure(bench),
            Self::Revoke => revoke::measure(bench),
            Self::Compile => compile::measure(bench),
            Self::Equality => equality::measure(bench),
        }
    }

    /// What was found.
    fn rows(self, bench: &Bench) -> Vec<Row> {
        match self {
            Self::TestRun => verdicts::rows(bench),
            Self::Throughput => throughput::rows(bench),
            Self::Connections => {
                let mut rows = flood::rows(bench);
                rows.extend(connections::rows(bench));
                rows
            }
            Self::Apply => apply::rows(bench),
            Self::Revoke => revoke::rows(bench),
            Self::Compile => compile::rows(bench),
            Self::Equality => equality::rows(bench),
        }
    }
}

impl Bench {
    /// Does some work, which a machine that stands still for a moment may spoil; what is missed after
    /// all attempts is noted and leaves its numbers out. Says whether it was done.
    fn attempt(&mut self, what: &str, work: impl Fn(&Self) -> Result<Vec<Found>>) -> bool {
        self.work(what, ATTEMPTS, work)
    }

    /// Does some work of which a single failure tells.
    fn once(&mut self, what: &str, work: impl Fn(&Self) -> Result<Vec<Found>>) -> bool {
        self.work(what, 1, work)
    }

    fn work(
        &mut self,
        what: &str,
        attempts: u32,
        work: impl Fn(&Self) -> Result<Vec<Found>>,
    ) -> bool {
        eprintln!("  {what}");
        let mut failure = None;
        for _ in 0..attempts {
            match work(self) {
                Ok(found) => {
                    for (measure, who, value) in found {
                        self.samples.add(measure, who, value);
                    }
                    return true;
                }
                Err(error) => {
                    eprintln!("  {what} failed: {error:#}");
                    failure = Some(error);
                }
            }
        }
        if let Some(error) = failure {
            self.notes.missed(what, &error);
        }
        false
    }
}
