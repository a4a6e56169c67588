//! The switch against a program that only sends back what comes: alone by test-run, and over veth.

use anyhow::{Context, Result};
use dataplane::{Lane, LaneEnd, LaneId};
use netns_tests::Lab;

use super::load::{Load, Target};
use super::scene::{Cable, Scene};
use super::{Bench, Found, switch};
use crate::bench::samples::{Measure, NEARWIRE};
use crate::bench::{Reach, Row};

const REFLECTOR: &str = "a bare XDP_TX reflector";
/// Fewer than the hops that a packet may make: each run gets what the one before has made.
const REPEAT: u32 = 250;
/// What other programs do to the machine only ever adds: the best of so many.
const OFTEN: usize = 400;
/// How often they take turns over veth.
const ROUNDS: usize = 3;
/// Bytes behind the header of a lane.
const SIZE: u16 = 100;

fn rate(how: &str) -> Measure {
    Measure::new(format!("the switch in XDP, {how}: packets a second per core"), "/s")
}

const TEST_RUN: &str = "test-run";
const VETH: &str = "over veth";

pub(super) fn measure(bench: &mut Bench) {
    bench.attempt("test-run", |_| by_test_run());
    for _ in 0..ROUNDS {
        bench.attempt("over veth", over_veth);
    }
}

/// Two lanes that send a frame round in a circle.
fn by_test_run() -> Result<Vec<Found>> {
    let [one, other] = ["192.0.2.1:3478", "192.0.2.9:3478"].map(str::parse);
    let (one, other) = (one.context("an address")?, other.context("an address")?);
    let end = |from, to| LaneEnd::new(from, to).context("two families");
    let ids = [LaneId::new(0, 1), LaneId::new(1, 1)];
    // In no interface's way: a test-run needs none.
    let host = Lab::new("relay-ceiling")?.host("relay")?;
    let mut switch = host.enter(|| switch::load(switch::PORT))??;
    let sides = [(ids[0], one, other, ids[1]), (ids[1], other, one, ids[0])];
    for (id, from, to, next) in sides {
        let lane = Lane::unbound(id, end(from, to)?).bound_to(next, end(from, to)?);
        switch.insert(lane)?;
    }
    let frame = switch::frame(one, other, ids[0], SIZE)?;
    let (mut switched, mut reflected) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..OFTEN {
        switched = switched.min(nanoseconds(|| switch.time(&frame, REPEAT))?);
        reflected = reflected.min(nanoseconds(|| switch.time_reflector(&frame, REPEAT))?);
    }
    let passed = switch.totals()?.packets;
    anyhow::ensure!(passed == OFTEN as u64 * u64::from(REPEAT), "only {passed} were switched");
    eprintln!("    switch {switched} ns, reflector {reflected} ns");
    let per_second = |time: f64| 1e9 / time;
    Ok(vec![
        (rate(TEST_RUN), NEARWIRE, per_second(switched)),
        (rate(TEST_RUN), REFLECTOR, per_second(reflected)),
    ])
}

fn nanoseconds(run: impl FnOnce() -> Result<std::time::Duration, dataplane::Error>) -> Result<f64> {
    Ok(run()?.as_secs_f64() * 1e9)
}

fn over_veth(bench: &Bench) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (who, way, size) in
        [(NEARWIRE, "switch", SIZE), (REFLECTOR, "reflect", SIZE + switch::LANE_HEADER)]
    {
        let scene = Scene::new(Cable::Wire)?;
        let attached = match who {
            NEARWIRE => switch::lanes(&scene)?,
            _ => switch::reflector(&scene)?,
        };
        let target = Target { scene: &scene, process: None, way, at: switch::AT };
        let carried =
            target.carry(&bench.programs, &[Load { pairs: 1, size: size.into(), segments: 1 }])?;
        drop(attached);
        for carried in carried {
            let rate_found = carried.packets_per_core().context(who)?;
            eprintln!("    {who}: {rate_found:.0} packets a second per core");
            found.push((rate(VETH), who, rate_found));
        }
    }
    Ok(found)
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    let beside = |how, reach| samples.beside(&rate(how), REFLECTOR, Some(Reach::AtLeast(reach)));
    vec![beside(TEST_RUN, 0.5), beside(VETH, 0.8)]
}
