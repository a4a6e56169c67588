//! UDP packets of two sizes: how many a second arrive without loss, how many when far too many are
//! sent, and what a packet costs.
//!
//! The rate without loss is searched for: rates are offered for a third of a second each, beginning at
//! what a flood delivers. A rate holds when at most one packet in a thousand is lost, in one of two
//! attempts, because a pause of the machine would spoil a single one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::{Delivery, Load, flood};

use crate::bench::tunnel::ends::Ends;
use crate::bench::tunnel::measures::{Measure, Sample};
use crate::bench::tunnel::search::Search;

pub(in crate::bench::tunnel) const SMALL: Measure =
    Measure::more("UDP, 64 bytes, without loss", "packets/s");
/// The payload of a packet of 1400 bytes: one that long itself would not fit the tunnels' MTU of 1420,
/// and the host would cut it into two.
const FULL: usize = 1400 - 28;

const LARGE: Measure = Measure::more("UDP, packets of 1400 bytes, without loss", "packets/s");
const SMALL_FLOOD: Measure = Measure::more("UDP, 64 bytes, flood, delivered", "packets/s");
const LARGE_FLOOD: Measure =
    Measure::more("UDP, packets of 1400 bytes, flood, delivered", "packets/s");
pub(in crate::bench::tunnel) const CPU: Measure =
    Measure::less("CPU per UDP packet of 1400 bytes, flood, both ends", "us");

pub(super) const MEASURES: &[Measure] = &[SMALL, SMALL_FLOOD, LARGE, LARGE_FLOOD, CPU];

const PORT: u16 = 7009;
const FLOOD: Duration = Duration::from_secs(1);
const TRIAL: Duration = Duration::from_millis(300);
const LOSS: f64 = 0.001;
/// A rate that the sender itself missed by more was not offered.
const OFFERED: f64 = 0.97;

pub(super) fn measure(ends: &Ends<'_>) -> Result<Vec<Sample>> {
    let mut found = Vec::new();
    let small = all_at_once(ends, 64)?;
    found.push((SMALL_FLOOD, small.delivered()));
    let before = ends.cpu_seconds()?;
    let large = all_at_once(ends, FULL)?;
    found.push((LARGE_FLOOD, large.delivered()));
    if let (Some(before), Some(after)) = (before, ends.cpu_seconds()?) {
        #[allow(clippy::cast_precision_loss, reason = "a mean for people")]
        let packets = large.arrived as f64;
        found.push((CPU, (after - before) * 1e6 / packets));
    }
    found.push((SMALL, without_loss(ends, 64, small.delivered())?));
    found.push((LARGE, without_loss(ends, FULL, large.delivered())?));
    Ok(found)
}

fn all_at_once(ends: &Ends<'_>, payload: usize) -> Result<Delivery> {
    let delivery = send(ends, Load { payload, rate: None, time: FLOOD })?;
    ensure!(delivery.in_time > 0, "of {} packets of UDP none arrived", delivery.sent);
    Ok(delivery)
}

fn send(ends: &Ends<'_>, load: Load) -> Result<Delivery> {
    flood(ends.a, ends.b, SocketAddr::from((ends.at_b, PORT)), load)
}

fn without_loss(ends: &Ends<'_>, payload: usize, guess: f64) -> Result<f64> {
    let holds = |rate| -> Result<bool> {
        let delivery = send(ends, Load { payload, rate: Some(rate), time: TRIAL })?;
        Ok(delivery.loss() <= LOSS && delivery.offered() >= rate * OFFERED)
    };
    let mut search = Search::from(guess);
    while let Some(rate) = search.next() {
        if holds(rate)? || holds(rate)? {
            search.held(rate);
        } else {
            search.failed(rate);
        }
    }
    Ok(search.found())
}
