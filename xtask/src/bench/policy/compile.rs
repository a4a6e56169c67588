//! How long it takes to compile 100,000 rules for 10,000 nodes, in shapes that hurt: the test of crate
//! `policy` that holds each step to two seconds says what each has taken.

use anyhow::Context as _;

use super::samples::{Measure, NEARWIRE};
use super::{Bench, Found};
use crate::bench::cargo_test;
use crate::bench::{Reach, Row};

fn slowest() -> Measure {
    Measure::new("10,000 nodes, 100,000 rules: the slowest step of compiling", "ms")
}

pub(super) fn measure(bench: &mut Bench) {
    bench.attempt("compile", |_| {
        let slowest_step = longest(&cargo_test::run("policy", "scale", &[], &[])?)
            .context("the test tells of no step")?;
        Ok::<Vec<Found>, _>(vec![(slowest(), NEARWIRE, slowest_step)])
    });
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    vec![samples.alone(&slowest(), Some(Reach::AtMost(2000.0)))]
}

/// The most milliseconds of all steps.
fn longest(said: &str) -> Option<f64> {
    let of_line = |line: &str| line.strip_suffix(" ms")?.split(' ').next_back()?.parse().ok();
    said.lines().filter_map(of_line).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_step_is_found_among_other_lines() {
        let said = "running 2 tests\nhosts  plan   12.5 ms\nhosts  tables    7.0 ms\n12 entries\n";
        assert_eq!(longest(said), Some(12.5));
        assert_eq!(longest("nothing"), None);
    }
}
