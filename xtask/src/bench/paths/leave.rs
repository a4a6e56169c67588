//! A direct way that comes, goes bad, and dies, each in one direction or both, while packets flow.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hindrance, Nat, Programs};
use netns_tests::{Arrivals, Pace, SteadyDatagrams};

use super::scene::{PATIENCE, Scene};
use super::{Found, ms};
use crate::bench::samples::{Measure, Samples};
use crate::bench::{Reach, Row};

/// How long packets flow before something happens, and after.
const CALM: Duration = Duration::from_secs(1);

fn measures() -> [(Measure, Reach); 4] {
    let left = Reach::AtMost(2000.0);
    [
        (
            Measure::new("switch from relay to direct, 3,500 packets/s each way: lost", "packets"),
            Reach::AtMost(0.0),
        ),
        (Measure::new("a direct way that loses 5 %: left after", "ms"), left),
        (Measure::new("a direct way dead in one direction: nothing comes for", "ms"), left),
        (Measure::new("a direct way dead: nothing comes for", "ms"), left),
    ]
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Found>> {
    let scene = Scene::with(programs, &[Nat::None; 6])?;
    let [switch, lossy, one_way, dead] = measures().map(|(measure, _)| measure);
    Ok(vec![
        (switch, lost_by_the_switch(&scene)?),
        (lossy, ms(until_loss_is_left(&scene)?)),
        (one_way, ms(gap(&scene, (2, 3), Some(&scene.hub.link_of(&scene.nodes[2].host)?))?)),
        (dead, ms(gap(&scene, (4, 5), None)?)),
    ])
}

/// Of packets that flow by the relay while the direct way opens.
#[allow(clippy::cast_precision_loss, reason = "some thousand packets")]
fn lost_by_the_switch(scene: &Scene) -> Result<f64> {
    scene.hub.hinder(Some(Hindrance::All))?;
    scene.settle(0, 1, "relay")?;
    let load = scene.load(0, 1, Pace::FAST)?;
    sleep(CALM * 3);
    scene.hub.hinder(None)?;
    scene.both(0, 1, "direct", PATIENCE).context("no direct way is found")?;
    sleep(CALM);
    Ok(finish(load)?.iter().map(|one| one.lost() as f64).sum())
}

/// From when packets begin to be lost until neither end uses the way.
fn until_loss_is_left(scene: &Scene) -> Result<Duration> {
    scene.settle(0, 1, "direct")?;
    let load = scene.load(0, 1, Pace::FAST)?;
    sleep(CALM * 3);
    scene.hub.hinder(Some(Hindrance::Percent(5)))?;
    let left = scene.both(0, 1, "relay", PATIENCE).context("the way is not left")?;
    scene.hub.hinder(None)?;
    finish(load)?;
    Ok(left)
}

/// The longest time without a packet in either direction, when the direct way ends for what comes by a
/// link, or for all.
fn gap(scene: &Scene, (a, b): (usize, usize), link: Option<&str>) -> Result<Duration> {
    scene.settle(a, b, "direct")?;
    let load = scene.load(a, b, Pace::FAST)?;
    sleep(CALM * 3);
    scene.hub.hinder(Some(link.map_or(Hindrance::All, Hindrance::From)))?;
    scene.both(a, b, "relay", PATIENCE).context("the way is not left")?;
    sleep(CALM);
    let gaps = finish(load)?.map(|one| one.gap);
    scene.hub.hinder(None)?;
    Ok(gaps[0].max(gaps[1]))
}

pub(super) fn finish([there, back]: [SteadyDatagrams; 2]) -> Result<[Arrivals; 2]> {
    Ok([there.finish()?, back.finish()?])
}

pub(super) fn rows(samples: &Samples) -> Vec<Row> {
    measures().iter().map(|(measure, reach)| samples.alone(measure, Some(*reach))).collect()
}
