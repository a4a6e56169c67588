//! Packets a second per core of the relay.

use anyhow::Result;

use super::contestant::{COTURN, Contestant, IROH, IROH_TLS};
use super::load::{Carried, Load};
use super::{Bench, Found};
use crate::bench::samples::Measure;
use crate::bench::{Reach, Row};

const SMALL: u32 = 100;
const LARGE: u32 = 1_400;
/// What a datagram of QUIC has room for on a path of 1,500 bytes.
const LARGE_IN_QUIC: u32 = 1_300;
const PAIRS: [u32; 2] = [1, 1_000];
/// Segments of a batch of iroh's.
const BATCH: u32 = 10;

fn measure_of(name: &str, load: Load) -> Measure {
    Measure::new(format!("{name}, {}: packets a second per core", words(load)), "/s")
}

fn bits_of(name: &str, load: Load) -> Measure {
    Measure::new(format!("{name}, {}: bits a second per core", words(load)), "Gbit/s")
}

fn words(Load { pairs, size, segments }: Load) -> String {
    let pairs = match pairs {
        1 => "1 pair".to_owned(),
        1_000 => "1,000 pairs".to_owned(),
        other => format!("{other} pairs"),
    };
    match (segments, size) {
        (1, LARGE) => format!("1,400 bytes, {pairs}"),
        (1, LARGE_IN_QUIC) => format!("1,300 bytes, {pairs}"),
        (1, size) => format!("{size} bytes, {pairs}"),
        (segments, size) => format!("{size} bytes in batches of {segments}, {pairs}"),
    }
}

fn singles(sizes: &[u32]) -> impl Iterator<Item = Load> {
    let load = |size| PAIRS.map(|pairs| Load { pairs, size, segments: 1 });
    sizes.iter().flat_map(move |&size| load(size))
}

fn loads(contestant: Contestant) -> Vec<Load> {
    let batches = singles(&[SMALL, LARGE]).map(|load| Load { segments: BATCH, ..load });
    match contestant {
        Contestant::Quic => singles(&[SMALL, LARGE_IN_QUIC]).collect(),
        Contestant::Iroh => singles(&[SMALL, LARGE_IN_QUIC, LARGE]).chain(batches).collect(),
        Contestant::IrohTls => singles(&[SMALL, LARGE_IN_QUIC, LARGE]).collect(),
        _ => singles(&[SMALL, LARGE]).collect(),
    }
}

pub(super) fn measure(bench: &mut Bench) {
    for contestant in bench.asked(&Contestant::ALL) {
        let title = format!("throughput, {}", contestant.name());
        bench.attempt(&title, |bench| {
            let loads = loads(contestant);
            let carried = contestant.measured(&bench.programs, &[], |relay| {
                relay.scene.moderate()?;
                relay.carry(&bench.programs, &loads)
            })?;
            let found = carried.iter().map(|carried| found(contestant, carried));
            Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        });
    }
}

fn found(contestant: Contestant, carried: &Carried) -> Result<[Found; 2]> {
    let (load, who) = (carried.load, contestant.who());
    let packets = carried.packets_per_core()?;
    let bits = packets * f64::from(load.size) * 8.0 / 1e9;
    eprintln!("    {}: {:.0} packets a second per core", words(load), packets);
    let name = contestant.name();
    Ok([(measure_of(name, load), who, packets), (bits_of(name, load), who, bits)])
}

/// Who is beside, in batches of how many, and what has to be reached.
type Other = (Contestant, u32, Option<f64>);

const BESIDE: &[(Contestant, &[Other])] = &[
    (
        Contestant::LaneXdp,
        &[
            (Contestant::Coturn, 1, Some(10.0)),
            (Contestant::Iroh, 1, Some(10.0)),
            (Contestant::Iroh, BATCH, Some(4.0)),
        ],
    ),
    (Contestant::Lane, &[(Contestant::Coturn, 1, Some(2.0))]),
    (Contestant::Quic, &[(Contestant::IrohTls, 1, Some(1.5)), (Contestant::Iroh, 1, None)]),
    (Contestant::Tls, &[(Contestant::IrohTls, 1, Some(1.5)), (Contestant::Iroh, 1, None)]),
];

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (ours, others) in BESIDE {
        for load in loads(*ours) {
            for (other, segments, reach) in *others {
                let theirs = measure_of(other.name(), Load { segments: *segments, ..load });
                let name = match (*other, *segments) {
                    (Contestant::Coturn, _) => COTURN,
                    (Contestant::IrohTls, _) => IROH_TLS,
                    (_, 1) => IROH,
                    _ => "iroh-relay --dev, batches of 10",
                };
                let ours = measure_of(ours.name(), load);
                let reach = reach.map(Reach::AtLeast);
                rows.push(samples.against(&ours, name, &theirs, other.who(), reach));
            }
            rows.push(samples.alone(&bits_of(ours.name(), load), None));
        }
    }
    rows
}
