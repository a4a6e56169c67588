//! How long nothing arrives when a relay drains or is killed: the tests `relay_fleet` that hold it to
//! that say what they saw.

use anyhow::{Context as _, Result};

use super::{Bench, Found};
use crate::bench::samples::{Measure, NEARWIRE};
use crate::bench::{Reach, Row, cargo_test};
use crate::{process, workspace};

/// What a test says: of what, in what unit; and how much it may be.
struct Said {
    word: &'static str,
    unit: &'static str,
    reach: Option<f64>,
}

const ALL: [(&str, Said); 5] = [
    ("drain: longest time without a byte of TCP", said("drain tcp gap", "ms", Some(100.0))),
    ("drain: longest time without a datagram", said("drain datagram gap", "ms", Some(100.0))),
    ("drain: datagrams lost", said("drain lost", "packets", Some(0.0))),
    // Of it, TCP's own pause before it sends again is the most.
    ("kill -9: longest time without a byte of TCP", said("kill tcp gap", "ms", None)),
    ("kill -9: longest time without a datagram", said("kill datagram gap", "ms", Some(500.0))),
];

const fn said(word: &'static str, unit: &'static str, reach: Option<f64>) -> Said {
    Said { word, unit, reach }
}

pub(super) fn measure(bench: &mut Bench) {
    bench.attempt("drain and kill -9", |_| {
        // The tests take the relay that was built beside them.
        let mut build = workspace::cargo()?;
        process::run(build.args(["build", "--locked", "--release", "--package", "relay"]))?;
        let text = cargo_test::run(
            "netns-tests",
            "relay_fleet",
            &["drain", "go_on_without", "killed"],
            &[],
        )?;
        ALL.iter().map(|(name, said)| found(name, said, &text)).collect()
    });
}

fn found(name: &str, said: &Said, text: &str) -> Result<Found> {
    let worst = worst(text, said.word).with_context(|| format!("no test said {}", said.word))?;
    Ok((Measure::new(name, said.unit), NEARWIRE, worst))
}

/// The largest number that was said of this: lines of `what: number`.
fn worst(text: &str, word: &str) -> Option<f64> {
    let of_line = |line: &str| line.strip_prefix(word)?.strip_prefix(": ")?.parse().ok();
    text.lines().filter_map(of_line).reduce(f64::max)
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    let row = |(name, said): &(&str, Said)| {
        samples.alone(&Measure::new(*name, said.unit), said.reach.map(Reach::AtMost))
    };
    ALL.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_is_said_counts() {
        let text = "drain lost: 0\ntest x ... drain lost: 9\ndrain lost: 2\ndrain tcp gap: 7.5\n";
        assert_eq!(worst(text, "drain lost"), Some(2.0));
        assert_eq!(worst(text, "drain tcp gap"), Some(7.5));
        assert_eq!(worst(text, "kill tcp gap"), None);
    }
}
