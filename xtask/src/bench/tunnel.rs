//! `cargo xtask bench tunnel`: nearwire beside what a user would pick instead, in one run.
//!
//! Two hosts on a veth, both ends on this machine. The implementations take turns, so that what
//! else the machine does meets them alike; a number is the median of the turns.

mod ends;
mod field;
mod measures;
mod rows;
mod search;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::notes::reason;
use super::stolen::CpuTime;
use super::{Machine, Report};
use field::Contestant;
use measures::Samples;
use work::Work;

/// Arguments of `cargo xtask bench tunnel`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many turns each implementation has; fewer than 5 are a glance, no measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Measure only this part; may be given again, or as a list with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Work>,
    /// Measure beside these only; may be given again, or as a list with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = field::OTHERS)]
    beside: Vec<String>,
    /// More arguments for `nearwire wg`, separated by spaces, to compare its own ways
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, default_value = "")]
    nearwire_args: String,
    /// Measure this nearwire instead of building one
    #[arg(long, value_name = "FILE", env = "NEARWIRE_BIN")]
    binary: Option<PathBuf>,
}

/// Peers now and then end by themselves when they are configured: what fails is tried again.
const ATTEMPTS: u32 = 4;

/// Measures.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let machine = Machine::here()?;
    let mut notes = vec![
        "both ends on this machine, joined by a veth; XDP not attached; congestion control cubic"
            .to_owned(),
        format!("medians of {} turns, in which the implementations alternate", options.turns),
    ];
    if !options.nearwire_args.is_empty() {
        notes.push(format!("nearwire runs with {}", options.nearwire_args));
    }
    let field = field::gather(options, &mut notes)?;
    let works = if options.only.is_empty() { Work::ALL.to_vec() } else { options.only.clone() };
    let mut samples = Samples::default();
    let before = CpuTime::now()?;
    for turn in 1..=options.turns {
        // One number each in a turn; of a number that several works find (memory), the largest.
        let mut found: BTreeMap<_, f64> = BTreeMap::new();
        for work in &works {
            for contestant in field.iter().filter(|contestant| work.takes(contestant)) {
                eprintln!("turn {turn} of {}: {work}: {}", options.turns, contestant.name);
                for (measure, value) in attempt(*work, contestant, turn, &mut notes) {
                    let most = found.entry((measure.name, contestant.name)).or_insert(value);
                    *most = most.max(value);
                }
            }
        }
        samples.add(found);
    }
    let stolen = CpuTime::now()?.stolen_since(before);
    notes.push(format!("{stolen:.0} % of the CPU time was withheld by the machine's own host"));
    let rows = rows::of(&samples, &works);
    Ok(Report { bench: "tunnel", machine, rows, notes })
}

/// One contestant's turn at one work. What is missed after all attempts is noted.
fn attempt(
    work: Work,
    contestant: &Contestant,
    turn: u32,
    notes: &mut Vec<String>,
) -> Vec<measures::Sample> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match work.measure(contestant) {
            Ok(found) => return found,
            Err(error) => {
                eprintln!("{} failed: {error:#}", contestant.name);
                last = reason(&error);
            }
        }
    }
    notes.push(format!(
        "{} has no {work} numbers of turn {turn}: {ATTEMPTS} attempts failed, the last with: {last}",
        contestant.name
    ));
    Vec::new()
}
