//! What a relay adds to a round trip: beside one without a relay, from socket to socket.

use super::contestant::{COTURN, Contestant, IROH, IROH_TLS};
use super::load::{Target, Trips};
use super::scene::{Cable, Scene};
use super::{Bench, switch};
use crate::bench::samples::Measure;
use crate::bench::{Reach, Row};

/// Questions in a run.
const COUNT: u32 = 2_000;
/// Packets a second of another pair, under load: what every relay carries.
const BESIDE: u32 = 20_000;

const STATES: [(&str, u32); 2] = [("idle", 0), ("beside 20,000 packets a second", BESIDE)];
const QUANTILES: [&str; 2] = ["p50", "p99"];

fn added(name: &str, state: &str, quantile: &str) -> Measure {
    Measure::new(format!("{name}, {state}: added round trip, {quantile}"), "us")
}

pub(super) fn measure(bench: &mut Bench) {
    for (state, beside) in STATES {
        // With nothing between, the time is that of the two programs alone.
        let mut direct = None;
        bench.attempt("round trips, no relay", |bench| {
            let scene = Scene::new(Cable::Veth)?;
            let at = switch::AT;
            let target = Target { scene: &scene, process: None, way: "direct", at };
            direct = Some(trips(&target, bench, beside)?);
            Ok(Vec::new())
        });
        let Some(direct) = direct else { continue };
        for contestant in bench.asked(&Contestant::ALL) {
            let name = contestant.name();
            bench.attempt(&format!("round trips, {name}, {state}"), |bench| {
                let trips = contestant
                    .measured(&bench.programs, &[], |target| trips(target, bench, beside))?;
                eprintln!("    p50 {:.1} us, p99 {:.1} us", trips.p50, trips.p99);
                let both = [(trips.p50, direct.p50), (trips.p99, direct.p99)];
                let found = QUANTILES.iter().zip(both).map(|(quantile, (with, without))| {
                    (added(name, state, quantile), contestant.who(), with - without)
                });
                Ok(found.collect())
            });
        }
    }
}

fn trips(target: &Target<'_>, bench: &Bench, beside: u32) -> anyhow::Result<Trips> {
    target.scene.without_threads()?;
    let arguments = [format!("--count={COUNT}"), format!("--beside={beside}")];
    target.run(&bench.programs, "latency", &arguments)
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    use Contestant::{Coturn, Iroh, IrohTls, Lane, LaneXdp, Quic, Tls};
    let beside: [(Contestant, &[(Contestant, &str)]); 4] = [
        (LaneXdp, &[(Coturn, COTURN), (Iroh, IROH)]),
        (Lane, &[(Coturn, COTURN)]),
        (Quic, &[(IrohTls, IROH_TLS)]),
        (Tls, &[(IrohTls, IROH_TLS)]),
    ];
    let mut rows = Vec::new();
    for (state, _) in STATES {
        for (ours, others) in beside {
            for quantile in QUANTILES {
                for (other, name) in others {
                    let judged = ours == LaneXdp && *other == Coturn && quantile == "p50";
                    let reach = judged.then_some(Reach::AtMost(0.3));
                    let theirs = added(other.name(), state, quantile);
                    let ours = added(ours.name(), state, quantile);
                    rows.push(samples.against(&ours, name, &theirs, other.who(), reach));
                }
            }
        }
    }
    rows
}
