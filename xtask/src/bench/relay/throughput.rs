//! Packets a second per core of the relay.

use anyhow::Result;

use super::contestant::{COTURN, Contestant};
use super::load::{Carried, Load};
use super::scene::Scene;
use super::{Bench, Found};
use crate::bench::samples::Measure;
use crate::bench::{Reach, Row};

pub(super) const SMALL: u32 = 100;
pub(super) const LARGE: u32 = 1_400;
/// What a datagram of QUIC has room for on a path of 1,500 bytes.
const LARGE_IN_QUIC: u32 = 1_300;
const PAIRS: [u32; 2] = [1, 1_000];
/// Packets that a node sends at one time, where it does not send them one by one.
const BATCH: u32 = 10;

pub(super) fn measure_of(name: &str, load: Load) -> Measure {
    Measure::new(format!("{name}, {}: packets a second per core", words(load)), "/s")
}

fn bits_of(name: &str, load: Load) -> Measure {
    Measure::new(format!("{name}, {}: bits a second per core", words(load)), "Gbit/s")
}

pub(super) fn words(Load { pairs, size, segments }: Load) -> String {
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

pub(super) fn singles(sizes: &[u32]) -> impl Iterator<Item = Load> {
    let load = |size| PAIRS.map(|pairs| Load { pairs, size, segments: 1 });
    sizes.iter().flat_map(move |&size| load(size))
}

fn batches(sizes: &[u32]) -> impl Iterator<Item = Load> {
    singles(sizes).map(|load| Load { segments: BATCH, ..load })
}

/// Some packets of each of the most pairs at a time. With one pair they come so anyway.
fn bursts(sizes: &[u32]) -> impl Iterator<Item = Load> {
    batches(sizes).filter(|load| load.pairs > 1)
}

fn loads(contestant: Contestant) -> Vec<Load> {
    let (both, quic, all) = ([SMALL, LARGE], [SMALL, LARGE_IN_QUIC], [SMALL, LARGE_IN_QUIC, LARGE]);
    match contestant {
        Contestant::LaneXdp => singles(&both).collect(),
        Contestant::Lane | Contestant::Coturn | Contestant::Tls => {
            singles(&both).chain(bursts(&both)).collect()
        }
        Contestant::Quic => singles(&quic).chain(bursts(&quic)).collect(),
        Contestant::Iroh => singles(&all).chain(batches(&all)).collect(),
        Contestant::IrohTls => singles(&all).chain(bursts(&all)).collect(),
    }
}

pub(super) fn measure(bench: &mut Bench) {
    for contestant in bench.asked(&Contestant::ALL) {
        if UNMODERATED.contains(&contestant) {
            carry(bench, contestant, &unmoderated(contestant.name()), |_| Ok(()));
        }
        carry(bench, contestant, contestant.name(), Scene::moderate);
    }
}

/// Measures one, with a relay of its own: what clients have left behind would be in the next ones' way.
fn carry(
    bench: &mut Bench,
    contestant: Contestant,
    name: &str,
    prepare: impl FnOnce(&Scene) -> Result<()>,
) {
    bench.attempt(&format!("throughput, {name}"), |bench| {
        let carried = contestant.measured(&bench.programs, &[], |relay| {
            prepare(relay.scene)?;
            relay.carry(&bench.programs, &loads(contestant))
        })?;
        found(contestant, name, &carried)
    });
}

/// Those that are measured, besides, with interfaces that take frames as they come.
const UNMODERATED: [Contestant; 3] = [Contestant::LaneXdp, Contestant::Coturn, Contestant::Lane];

fn unmoderated(name: &str) -> String {
    format!("{name}, unmoderated")
}

fn found(contestant: Contestant, name: &str, all: &[Carried]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for carried in all {
        let (load, who) = (carried.load, contestant.who());
        let packets = carried.packets_per_core()?;
        let bits = packets * f64::from(load.size) * 8.0 / 1e9;
        let busy = 100.0 * carried.busy();
        let words = words(load);
        eprintln!("    {name}, {words}: {packets:.0} packets a second per core, {busy:.0} % busy");
        found.push((measure_of(name, load), who, packets));
        found.push((bits_of(name, load), who, bits));
    }
    Ok(found)
}

/// Who is beside, in batches of how many, and what has to be reached.
type Other = (Contestant, u32, Option<f64>);

/// For a switch in the kernel with its core full.
const BESIDE_SWITCH: &[Other] = &[
    (Contestant::Coturn, 1, Some(10.0)),
    (Contestant::Iroh, 1, Some(10.0)),
    (Contestant::Iroh, BATCH, Some(4.0)),
];

const BESIDE: &[(Contestant, &[Other])] = &[
    // One core of load leaves this one idle most of the time, so nothing is to be reached here.
    (
        Contestant::LaneXdp,
        &[
            (Contestant::Coturn, 1, None),
            (Contestant::Iroh, 1, None),
            (Contestant::Iroh, BATCH, None),
        ],
    ),
    (Contestant::Lane, &[(Contestant::Coturn, 1, Some(2.0))]),
    (Contestant::Quic, &[(Contestant::IrohTls, 1, Some(1.5)), (Contestant::Iroh, 1, None)]),
    (Contestant::Tls, &[(Contestant::IrohTls, 1, Some(1.5)), (Contestant::Iroh, 1, None)]),
];

pub(super) fn rows(bench: &Bench) -> Vec<Row> {
    let samples = &bench.samples;
    let mut rows = Vec::new();
    for (ours, others) in BESIDE {
        for load in loads(*ours) {
            rows.extend(beside(bench, &measure_of(ours.name(), load), load, others));
            rows.push(samples.alone(&bits_of(ours.name(), load), None));
        }
    }
    for ours in UNMODERATED.into_iter().filter(|ours| *ours != Contestant::Coturn) {
        for load in loads(ours) {
            let [ours, theirs] = [ours, Contestant::Coturn]
                .map(|contestant| measure_of(&unmoderated(contestant.name()), load));
            rows.push(samples.against(&ours, COTURN, &theirs, COTURN, None));
        }
    }
    rows
}

/// A measure of the switch in the kernel beside the others that carry the same.
pub(super) fn beside_switch(bench: &Bench, ours: &Measure, load: Load) -> Vec<Row> {
    beside(bench, ours, load, BESIDE_SWITCH)
}

fn beside(bench: &Bench, ours: &Measure, load: Load, others: &[Other]) -> Vec<Row> {
    let row = |(other, segments, reach): &Other| {
        // Never less at a time than ours.
        let segments = load.segments.max(*segments);
        let theirs = measure_of(other.name(), Load { segments, ..load });
        let name = match other {
            Contestant::Iroh if segments > load.segments => "iroh-relay --dev, batches of 10",
            other => other.who(),
        };
        bench.samples.against(ours, name, &theirs, other.who(), reach.map(Reach::AtLeast))
    };
    others.iter().map(row).collect()
}
