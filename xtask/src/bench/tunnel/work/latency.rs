//! Round trips of one small datagram: through an idle tunnel, and beside four TCP streams.
//!
//! Idle, each follows the one before it. Beside the streams they are asked every millisecond, whether
//! or not answers come, so that a time when nothing passes weighs as much as it lasts.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use netns_tests::{Questions, UdpEcho, udp_round_trips};

use crate::bench::iperf;
use crate::bench::tunnel::ends::Ends;
use crate::bench::tunnel::measures::{Measure, Sample};

pub(in crate::bench::tunnel) const IDLE_50: Measure = Measure::less("idle round trip, p50", "us");
pub(in crate::bench::tunnel) const IDLE_99: Measure = Measure::less("idle round trip, p99", "us");
const IDLE_999: Measure = Measure::less("idle round trip, p99.9", "us");
/// Nearwire looks for the next packet before it sleeps; the others are as they are.
pub(in crate::bench::tunnel) const BUSY_50: Measure =
    Measure::less("idle round trip, nearwire with --busy-poll 100, p50", "us");
pub(in crate::bench::tunnel) const BUSY_99: Measure =
    Measure::less("idle round trip, nearwire with --busy-poll 100, p99", "us");
const LOADED_50: Measure = Measure::less("round trip beside 4 TCP streams, p50", "us");
pub(in crate::bench::tunnel) const LOADED_99: Measure =
    Measure::less("round trip beside 4 TCP streams, p99", "us");
const LOADED_999: Measure = Measure::less("round trip beside 4 TCP streams, p99.9", "us");
const LOST: Measure = Measure::less("round trips lost beside 4 TCP streams", "%");

pub(super) const MEASURES: &[Measure] =
    &[IDLE_50, IDLE_99, IDLE_999, BUSY_50, BUSY_99, LOADED_50, LOADED_99, LOADED_999, LOST];

/// An answer that is not there by then is lost, and counts as having taken so long.
const PATIENCE: Duration = Duration::from_millis(200);
const IDLE: Questions = Questions { count: 5000, every: None, patience: PATIENCE };
const LOADED: Questions =
    Questions { count: 2500, every: Some(Duration::from_millis(1)), patience: PATIENCE };
/// The streams start before the first question; they are ended after the last answer.
const STREAMS_START: Duration = Duration::from_millis(500);
const STREAMS_RUN: u32 = 6;

/// `busy`: the same ends, busy polling, if the contestant can.
pub(super) fn measure(ends: &Ends<'_>, busy: Option<&Ends<'_>>) -> Result<Vec<Sample>> {
    let idle = idle(ends)?;
    let busy = busy.map(self::idle).transpose()?;
    let busy = busy.as_ref().unwrap_or(&idle);
    let echo = UdpEcho::start(ends.b, SocketAddr::from((ends.at_b, 7007)))?;

    let (_server, streams) = iperf::start(ends.path(), STREAMS_RUN, &["-P", "4"])?;
    thread::sleep(STREAMS_START);
    let loaded = Answers::of(&udp_round_trips(ends.a, echo.address(), LOADED)?)?;
    ensure!(streams.is_running(), "the TCP streams ended early: {}", streams.output_so_far());
    Ok(vec![
        (IDLE_50, idle.micros(0.5)),
        (IDLE_99, idle.micros(0.99)),
        (IDLE_999, idle.micros(0.999)),
        (BUSY_50, busy.micros(0.5)),
        (BUSY_99, busy.micros(0.99)),
        (LOADED_50, loaded.micros(0.5)),
        (LOADED_99, loaded.micros(0.99)),
        (LOADED_999, loaded.micros(0.999)),
        (LOST, loaded.lost),
    ])
}

fn idle(ends: &Ends<'_>) -> Result<Answers> {
    let echo = UdpEcho::start(ends.b, SocketAddr::from((ends.at_b, 7007)))?;
    let idle = Answers::of(&udp_round_trips(ends.a, echo.address(), IDLE)?)?;
    ensure!(idle.lost < 1.0, "{:.1} % of the round trips of an idle tunnel were lost", idle.lost);
    Ok(idle)
}

struct Answers {
    nanos: Histogram<u64>,
    /// In percent.
    lost: f64,
}

#[allow(clippy::cast_precision_loss, reason = "some thousand questions, times below a second")]
impl Answers {
    fn of(times: &[Option<Duration>]) -> Result<Self> {
        let mut nanos = Histogram::new(3)?;
        for time in times {
            let time = time.unwrap_or(PATIENCE).as_nanos();
            nanos.record(u64::try_from(time).context("a round trip of centuries")?)?;
        }
        let lost = times.iter().filter(|time| time.is_none()).count();
        Ok(Self { nanos, lost: 100.0 * lost as f64 / times.len() as f64 })
    }

    fn micros(&self, quantile: f64) -> f64 {
        self.nanos.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_took_all_the_time_it_was_given() {
        let mut times = vec![Some(Duration::from_micros(50)); 98];
        times.extend([None, None]);
        let answers = Answers::of(&times).unwrap();
        assert_eq!(answers.lost, 2.0);
        assert!((49.0..51.0).contains(&answers.micros(0.5)));
        assert!((199_000.0..201_000.0).contains(&answers.micros(0.99)));
    }
}
