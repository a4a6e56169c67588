//! A relay is killed while all packets of a pair go through it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Nat, Programs, Spread};
use netns_tests::{Pace, SteadyStream};

use super::leave::finish;
use super::scene::Scene;
use super::{Found, ms};
use crate::bench::samples::{Measure, Samples};
use crate::bench::{Reach, Row};

const CALM: Duration = Duration::from_secs(3);
/// A relay of another region may be found late; what comes after that was lost for good.
const AFTER: Duration = Duration::from_secs(10);

fn measures() -> [(Measure, Spread); 2] {
    let name = |which| format!("relay killed, another {which}: nothing comes for");
    [
        (Measure::new(name("of its region"), "ms"), Spread::OneRegion),
        (Measure::new(name("of another region"), "ms"), Spread::Regions),
    ]
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Found>> {
    measures()
        .into_iter()
        .map(|(measure, spread)| Ok((measure, ms(gap(programs, spread)?))))
        .collect()
}

/// The longest time without a packet in either direction. A TCP connection beside them has to live on.
fn gap(programs: &Programs, spread: Spread) -> Result<Duration> {
    let mut scene = Scene::new(programs, false, spread)?;
    [Nat::None; 2].iter().try_for_each(|nat| scene.add(*nat))?;
    scene.bring_up()?;
    scene.settle(0, 1, "relay")?;
    let load = scene.load(0, 1, Pace::SLOW)?;
    let at = SocketAddr::from((scene.address(1)?, 0));
    let stream = SteadyStream::start(&scene.nodes[0].host, &scene.nodes[1].host, at)?;
    sleep(CALM);
    let home = scene.nodes[0].status()?["relay"]["region"].as_u64().context("no home")?;
    // Regions are numbered from one, and the relays of one from the best on.
    scene.hub.kill_relay(if spread == Spread::Regions { usize::try_from(home)? - 1 } else { 0 })?;
    sleep(AFTER);
    let gaps = finish(load)?.map(|one| one.gap);
    stream.finish().context("the TCP connection did not live on")?;
    Ok(gaps[0].max(gaps[1]))
}

pub(super) fn rows(samples: &Samples) -> Vec<Row> {
    let reach = Some(Reach::AtMost(500.0));
    measures().iter().map(|(measure, _)| samples.alone(measure, reach)).collect()
}
