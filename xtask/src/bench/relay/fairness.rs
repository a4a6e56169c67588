//! Two senders of one network under its rate: one offers its share, the other ten times as much.

use anyhow::Result;

use super::contestant::Contestant;
use super::load::Shares;
use super::{Bench, Found};
use crate::bench::samples::{Measure, NEARWIRE};
use crate::bench::{Reach, Row};

/// Bytes a second of the network.
const RATE: u64 = 10_000_000;
const WAYS: [Contestant; 4] =
    [Contestant::LaneXdp, Contestant::Lane, Contestant::Quic, Contestant::Tls];
const SENDERS: [&str; 2] = ["who offers its share", "who offers ten times that"];

/// How far from 1 the part is that each got.
fn off(way: Contestant, sender: &str) -> Measure {
    Measure::new(format!("10:1 senders, {}: how far {sender} is from it", way.name()), "%")
}

pub(super) fn measure(bench: &mut Bench) {
    for way in WAYS {
        bench.attempt(&format!("fairness, {}", way.name()), |bench| shares(bench, way));
    }
}

fn shares(bench: &Bench, way: Contestant) -> Result<Vec<Found>> {
    let limit = format!("--network-rate={RATE}");
    let shares: Shares = way.measured(&bench.programs, &[&limit], |target| {
        target.run(&bench.programs, "fairness", &[format!("--rate={RATE}")])
    })?;
    eprintln!("    {:.3} and {:.3} of their halves", shares.modest, shares.greedy);
    let parts = SENDERS.into_iter().zip([shares.modest, shares.greedy]);
    Ok(parts.map(|(who, part)| (off(way, who), NEARWIRE, 100.0 * (part - 1.0).abs())).collect())
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    let all = WAYS.iter().flat_map(|way| SENDERS.map(|sender| off(*way, sender)));
    all.map(|measure| samples.alone(&measure, Some(Reach::AtMost(5.0)))).collect()
}
