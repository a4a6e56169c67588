//! What idle clients and lanes keep of the relay's memory.

use super::contestant::Contestant;
use super::load::Memory;
use super::{Bench, Found};
use crate::bench::samples::Measure;
use crate::bench::{Reach, Row};

const CLIENTS: usize = 10_000;
const LANES: usize = 100_000;
/// How much less a quick run has.
const QUICK: usize = 10;

const WITH_CLIENTS: [Contestant; 5] =
    [Contestant::Quic, Contestant::Tls, Contestant::Coturn, Contestant::Iroh, Contestant::IrohTls];

fn client(name: &str) -> Measure {
    Measure::new(format!("an idle client, {name}: resident memory"), "KiB")
}

fn lane() -> Measure {
    Measure::new("a lane, both ends bound: resident memory", "KiB")
}

pub(super) fn measure(bench: &mut Bench) {
    let part = if bench.quick { QUICK } else { 1 };
    let [clients, lanes] = [CLIENTS / part, LANES / part];
    for contestant in bench.asked(&WITH_CLIENTS) {
        let name = contestant.name();
        bench.attempt(&format!("memory of {clients} clients, {name}"), |bench| {
            found(bench, contestant, "idle", clients, client(name))
        });
    }
    bench.attempt(&format!("memory of {lanes} lanes"), |bench| {
        found(bench, Contestant::Lane, "lanes", lanes, lane())
    });
    bench.notes.add(format!("memory is that of {clients} idle clients, and of {lanes} lanes"));
}

fn found(
    bench: &Bench,
    contestant: Contestant,
    command: &str,
    count: usize,
    measure: Measure,
) -> anyhow::Result<Vec<Found>> {
    let arguments = [format!("--count={count}")];
    let memory: Memory = contestant.measured(&bench.programs, &[], |target| {
        target.run(&bench.programs, command, &arguments)
    })?;
    let each = memory.each() / 1024.0;
    eprintln!("    {each:.2} KiB each");
    Ok(vec![(measure, contestant.who(), each)])
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    use Contestant::{Coturn, Iroh, IrohTls, Quic, Tls};
    let mut rows = Vec::new();
    for (ours, limit) in [(Quic, 32.0), (Tls, 20.0)] {
        rows.push(samples.alone(&client(ours.name()), Some(Reach::AtMost(limit))));
        for other in [Coturn, Iroh, IrohTls] {
            let theirs = client(other.name());
            let ours = client(ours.name());
            rows.push(samples.against(&ours, other.who(), &theirs, other.who(), None));
        }
    }
    rows.push(samples.alone(&lane(), Some(Reach::AtMost(1.0))));
    rows
}
