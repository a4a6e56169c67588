//! Whether the tables say what the document says: the test of crate `policy` that asks both, with as
//! many random packets as takes a minute.

use anyhow::{Result, ensure};

use super::samples::{Measure, NEARWIRE};
use super::{Bench, Found};
use crate::bench::cargo_test;
use crate::bench::{Reach, Row};

const PACKETS: &str = "10000000";

fn differences() -> Measure {
    Measure::new("verdicts of the tables that differ from the document's, of 10,000,000", "packets")
}

pub(super) fn measure(bench: &mut Bench) {
    bench.once("tables against document", |_| {
        ask()?;
        Ok::<Vec<Found>, _>(vec![(differences(), NEARWIRE, 0.0)])
    });
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    vec![samples.alone(&differences(), Some(Reach::AtMost(0.0)))]
}

/// Fails at the first difference, and when there is no such test or it asks fewer.
fn ask() -> Result<()> {
    let said = cargo_test::run("policy", "oracle", &[], &[("NEARWIRE_POLICY_CASES", PACKETS)])?;
    let asked = format!("{PACKETS} packets of ");
    ensure!(said.contains(&asked), "`cargo test -p policy --test oracle` does not say {asked:?}");
    Ok(())
}
