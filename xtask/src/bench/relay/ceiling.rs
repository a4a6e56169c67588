//! The switch against a program that only sends back what comes: alone by test-run, and over veth with
//! as many frames as another core can offer.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use dataplane::{Lane, LaneEnd, LaneId};
use netns_tests::Lab;

use super::load::Load;
use super::saturation::{self, Runs};
use super::{Bench, Found, switch, throughput};
use crate::bench::samples::{Measure, NEARWIRE};
use crate::bench::{Reach, Row};

const REFLECTOR: &str = "a bare XDP_TX reflector";
/// Fewer than the hops that a packet may make: each run gets what the one before has made.
const REPEAT: u32 = 250;
/// What other programs do to the machine only ever adds: the best of so many.
const OFTEN: usize = 100;
/// Bytes behind the header of a lane.
const SIZE: u16 = 100;
/// Lanes by test-run, each the next one's other end.
const CIRCLES: [u32; 2] = [2, 2_000];

fn by_test_run(lanes: u32) -> Measure {
    let of = if lanes == 2 { "1 pair" } else { "1,000 pairs" };
    Measure::new(format!("the switch in XDP, test-run, {of}: packets a second per core"), "/s")
}

fn over_veth(load: Load) -> Measure {
    let words = throughput::words(load);
    let name =
        format!("the switch in XDP over veth, core full, {words}: packets a second per core");
    Measure::new(name, "/s")
}

fn loads() -> impl Iterator<Item = Load> {
    throughput::singles(&[throughput::SMALL, throughput::LARGE])
}

pub(super) fn measure(bench: &mut Bench) {
    for lanes in CIRCLES {
        bench.attempt(&format!("test-run, {lanes} lanes"), |_| test_run(lanes));
    }
    for load in loads() {
        let title = format!("over veth, {}", throughput::words(load));
        bench.attempt(&title, |_| {
            let mut found = Vec::new();
            for (who, runs) in [(NEARWIRE, Runs::Switch), (REFLECTOR, Runs::Reflector)] {
                let sunk = saturation::measure(runs, load)?;
                let (rate, busy) = (sunk.packets_per_core, 100.0 * sunk.busy);
                eprintln!("    {who}: {rate:.0} packets a second per core, {busy:.0} % busy");
                found.push((over_veth(load), who, rate));
            }
            Ok(found)
        });
    }
}

/// Lanes that send a frame round in a circle.
fn test_run(lanes: u32) -> Result<Vec<Found>> {
    let [one, other] = ["192.0.2.1:3478", "192.0.2.9:3478"].map(str::parse::<SocketAddr>);
    let (one, other) = (one.context("an address")?, other.context("an address")?);
    let end = |from, to: SocketAddr| LaneEnd::new(from, to.ip()).context("two families");
    let id = |place: u32| LaneId::new(place % lanes, 1);
    // In no interface's way: a test-run needs none.
    let host = Lab::new("relay-ceiling")?.host("relay")?;
    let mut switch = host.enter(|| switch::load(switch::PORT))??;
    for place in 0..lanes {
        let (from, to) = if place % 2 == 0 { (one, other) } else { (other, one) };
        let lane = Lane::unbound(id(place), end(from, to)?);
        switch.insert(lane.bound_to(id(place + 1), end(from, to)?))?;
    }
    let frame = switch::frame(one, other, id(0), SIZE)?;
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
        (by_test_run(lanes), NEARWIRE, per_second(switched)),
        (by_test_run(lanes), REFLECTOR, per_second(reflected)),
    ])
}

fn nanoseconds(run: impl FnOnce() -> Result<std::time::Duration, dataplane::Error>) -> Result<f64> {
    Ok(run()?.as_secs_f64() * 1e9)
}

pub(super) fn rows(bench: &Bench) -> Vec<Row> {
    let beside = |measure: &Measure, reach| {
        bench.samples.beside(measure, REFLECTOR, Some(Reach::AtLeast(reach)))
    };
    let mut rows: Vec<Row> =
        CIRCLES.into_iter().map(|lanes| beside(&by_test_run(lanes), 0.5)).collect();
    for load in loads() {
        let ours = over_veth(load);
        rows.push(beside(&ours, 0.8));
        rows.extend(throughput::beside_switch(bench, &ours, load));
    }
    rows
}
