//! `cargo xtask bench relay`: the relay by each of its ways, beside coturn, iroh-relay, and a program
//! in XDP that only sends back what comes.
//!
//! All that are compared have their turn one after the other; a number is the median of the turns.

mod ceiling;
mod contestant;
mod fairness;
mod gaps;
mod latency;
mod load;
mod memory;
mod programs;
mod saturation;
mod scene;
mod switch;
mod throughput;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use super::notes::Notes;
use super::samples::{Measure, Samples};
use super::stolen::CpuTime;
use super::{Machine, Report, Row};
use contestant::Contestant;
use programs::Programs;

/// Arguments of `cargo xtask bench relay`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// How many turns each part has; fewer than 3 are a glance, no measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Measure only this part; may be given again, or as a list with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure only these; may be given again, or as a list with commas
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    of: Vec<Contestant>,
    /// Fewer clients and lanes where memory is measured: a tenth
    #[arg(long)]
    quick: bool,
    /// Measure this nearwire-relay instead of building one
    #[arg(long, value_name = "FILE", env = "NEARWIRE_RELAY_BIN")]
    binary: Option<PathBuf>,
    /// Load the relays by this relay-load instead of building one
    #[arg(long, value_name = "FILE", env = "RELAY_LOAD_BIN")]
    load: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The switch in XDP against a bare reflector: by test-run, and over veth
    Ceiling,
    /// Packets a second per core
    Throughput,
    /// Added round trips, idle and under load
    Latency,
    /// Two senders under one bottleneck
    Fairness,
    /// Idle clients and lanes
    Memory,
    /// A relay that drains or is killed
    Gaps,
}

/// A number that was found: what, of whom.
type Found = (Measure, &'static str, f64);

/// A run of the bench.
struct Bench {
    programs: Programs,
    of: Vec<Contestant>,
    quick: bool,
    samples: Samples,
    notes: Notes,
}

/// Measures.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let machine = Machine::here()?;
    let programs = Programs::ready(options.binary.clone(), options.load.clone())?;
    let notes = conditions(&programs, options.turns)?.into();
    let mut bench = Bench {
        programs,
        of: options.of.clone(),
        quick: options.quick,
        samples: Samples::default(),
        notes,
    };
    let parts = if options.only.is_empty() { Part::value_variants() } else { &options.only };
    let before = CpuTime::now()?;
    for turn in 1..=options.turns {
        // What is kept in memory does not vary, and takes long.
        for part in parts.iter().filter(|part| turn == 1 || **part != Part::Memory) {
            eprintln!("turn {turn} of {}: {part:?}", options.turns);
            part.measure(&mut bench);
        }
    }
    let stolen = CpuTime::now()?.stolen_since(before);
    bench
        .notes
        .add(format!("{stolen:.0} % of the CPU time was withheld by the machine's own host"));
    let rows = parts.iter().flat_map(|part| part.rows(&bench)).collect();
    Ok(Report { bench: "relay", machine, rows, notes: bench.notes.into_vec() })
}

fn conditions(programs: &Programs, turns: u32) -> Result<Vec<String>> {
    Ok(vec![
        format!("medians of {turns} turns, in which those that are compared alternate"),
        "relay and clients in namespaces on this machine, joined by a veth without UDP segmentation \
         offload: what crosses it are single datagrams"
            .to_owned(),
        "a relay's CPU time is that of its process and of the kernel thread that does its \
         interface's work (threaded NAPI), both on one core; the clients have the other"
            .to_owned(),
        "lane in XDP: attached to the relay's veth in driver mode; all other ways without XDP"
            .to_owned(),
        programs.versions()?,
    ])
}

impl Part {
    /// Measures once.
    fn measure(self, bench: &mut Bench) {
        match self {
            Self::Ceiling => ceiling::measure(bench),
            Self::Throughput => throughput::measure(bench),
            Self::Latency => latency::measure(bench),
            Self::Fairness => fairness::measure(bench),
            Self::Memory => memory::measure(bench),
            Self::Gaps => gaps::measure(bench),
        }
    }

    /// What was found.
    fn rows(self, bench: &Bench) -> Vec<Row> {
        match self {
            Self::Ceiling => ceiling::rows(bench),
            Self::Throughput => throughput::rows(bench),
            Self::Latency => latency::rows(bench),
            Self::Fairness => fairness::rows(bench),
            Self::Memory => memory::rows(bench),
            Self::Gaps => gaps::rows(bench),
        }
    }
}

impl Bench {
    /// Those of these that are to be measured.
    fn asked(&self, all: &[Contestant]) -> Vec<Contestant> {
        let is_asked = |who: &Contestant| self.of.is_empty() || self.of.contains(who);
        all.iter().copied().filter(is_asked).collect()
    }

    /// Does some work; what fails is noted, once, and leaves its numbers out.
    fn attempt(&mut self, what: &str, work: impl FnOnce(&Self) -> Result<Vec<Found>>) {
        eprintln!("  {what}");
        match work(self) {
            Ok(found) => {
                for (measure, who, value) in found {
                    self.samples.add(measure, who, value);
                }
            }
            Err(error) => {
                eprintln!("  {what} failed: {error:#}");
                self.notes.missed(what, &error);
            }
        }
    }
}
