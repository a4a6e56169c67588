//! Addresses change under load: the host's own, or its router's, of which the host hears nothing.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::{Nat, Programs};
use netns_tests::{Host, Pace};

use super::leave::finish;
use super::scene::Scene;
use super::{Found, ms};
use crate::bench::samples::{Measure, Samples};
use crate::bench::{Reach, Row};

const CALM: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(15);

fn measures() -> [(Measure, Option<Reach>); 2] {
    let name = |whose| format!("another address of {whose}: nothing comes for");
    [
        (Measure::new(name("the host"), "ms"), Some(Reach::AtMost(500.0))),
        (Measure::new(name("its router"), "ms"), None),
    ]
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Found>> {
    let nats = [Nat::None, Nat::None, Nat::PortRestricted, Nat::PortRestricted];
    let scene = Scene::with(programs, &nats)?;
    let [host, router] = measures().map(|(measure, _)| measure);
    let found = |measure, gap| (measure, ms(gap));
    Ok(vec![
        found(host, gap(&scene, 0, 1, &scene.nodes[0].host)?),
        found(router, gap(&scene, 2, 3, &scene.routers[2][0])?),
    ])
}

fn gap(scene: &Scene, a: usize, b: usize, moved: &Host) -> Result<Duration> {
    scene.settle(a, b, "direct")?;
    let load = scene.load(a, b, Pace::SLOW)?;
    sleep(CALM);
    scene.hub.renumber(moved)?;
    sleep(AFTER);
    let gaps = finish(load)?.map(|one| one.gap);
    Ok(gaps[0].max(gaps[1]))
}

pub(super) fn rows(samples: &Samples) -> Vec<Row> {
    measures().iter().map(|(measure, reach)| samples.alone(measure, *reach)).collect()
}
