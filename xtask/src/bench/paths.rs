//! `cargo xtask bench paths`: which way pairs of nodes find to each other, how soon, and what that costs
//! their packets when ways change and relays die.
//!
//! Nodes, relays and the control plane are real processes; every link to a node takes 20 ms one way.

mod first;
mod leave;
mod moves;
mod pairs;
mod relays;
mod scene;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use netns_tests::mesh::Programs;

use super::notes::Notes;
use super::samples::{Measure, NEARWIRE, Samples};
use super::stolen::CpuTime;
use super::{Machine, Report, Row};
use crate::{packages, workspace};

/// Arguments of `cargo xtask bench paths`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// How many turns each part has; fewer than 3 are a glance, no measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Measure only this part; may be given again, or as a list with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure the programs in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Each NAT with each, and hard ones whose routers map ports: the way that is found, and how soon
    Pairs,
    /// Hard NATs with those that filter ports, which have to guess
    Guess,
    /// The first packet, between nodes that never spoke
    First,
    /// Ways that come, go bad and die, under load
    Leave,
    /// A relay that is killed under load
    Relays,
    /// Addresses that change under load, of a host and of its router
    Moves,
}

/// A number that was found.
type Found = (Measure, f64);

/// A run of the bench.
struct Bench {
    programs: Programs,
    samples: Samples,
    meetings: Vec<pairs::Meeting>,
    notes: Notes,
}

/// Measures.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let machine = Machine::here()?;
    packages::ensure(packages::FOR_TUNNELS)?;
    packages::ensure(packages::FOR_NATS)?;
    packages::ensure(packages::FOR_ROUTERS)?;
    packages::unpack(packages::ROUTERS)?;
    let programs = match &options.programs {
        Some(directory) => directory.clone(),
        None => workspace::build_programs()?,
    };
    let mut bench = Bench {
        programs: Programs::at(programs),
        samples: Samples::default(),
        meetings: Vec::new(),
        notes: conditions(options.turns).into(),
    };
    let parts = if options.only.is_empty() { Part::value_variants() } else { &options.only };
    let before = CpuTime::now()?;
    for turn in 1..=options.turns {
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
    Ok(Report { bench: "paths", machine, rows, notes: bench.notes.into_vec() })
}

fn conditions(turns: u32) -> Vec<String> {
    let delay = scene::DELAY.as_millis();
    vec![
        format!("medians of {turns} turns, each with nodes of its own that never spoke before"),
        format!(
            "every node's link takes {delay} ms one way: {} ms there and back to a relay, {} ms between \
             nodes, directly or by a relay",
            delay * 2,
            delay * 4
        ),
        "NATs are nftables' in routers of their own; nodes, relays and the control plane are one \
         machine's processes"
            .to_owned(),
    ]
}

impl Part {
    /// Measures once.
    fn measure(self, bench: &mut Bench) {
        let programs = bench.programs.clone();
        match self {
            Self::Pairs => bench.attempt("pairs", |bench| {
                bench.meetings.extend(pairs::of_all_kinds(&programs)?);
                bench.meetings.extend(pairs::that_are_mapped(&programs)?);
                Ok(Vec::new())
            }),
            Self::Guess => bench.attempt("guessing", |bench| {
                bench.meetings.extend(pairs::that_guess(&programs)?);
                Ok(Vec::new())
            }),
            Self::First => bench.attempt("first packets", |_| first::measure(&programs)),
            Self::Leave => bench.attempt("changing ways", |_| leave::measure(&programs)),
            Self::Relays => bench.attempt("killing relays", |_| relays::measure(&programs)),
            Self::Moves => bench.attempt("changing addresses", |_| moves::measure(&programs)),
        }
    }

    /// What was found.
    fn rows(self, bench: &Bench) -> Vec<Row> {
        match self {
            Self::Pairs => pairs::rows(&bench.meetings),
            Self::Guess => pairs::rows_of_guesses(&bench.meetings),
            Self::First => first::rows(&bench.samples),
            Self::Leave => leave::rows(&bench.samples),
            Self::Relays => relays::rows(&bench.samples),
            Self::Moves => moves::rows(&bench.samples),
        }
    }
}

impl Bench {
    /// Does some work; what fails is noted, once, and leaves its numbers out.
    fn attempt(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<Vec<Found>>) {
        match work(self) {
            Ok(found) => {
                for (measure, value) in found {
                    eprintln!("  {}: {value:.1}", measure.name());
                    self.samples.add(measure, NEARWIRE, value);
                }
            }
            Err(error) => {
                eprintln!("  {what} failed: {error:#}");
                self.notes.missed(what, &error);
            }
        }
    }
}

/// Milliseconds.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
