//! The switch and the reflector under as many frames as another core can offer: a program in XDP makes
//! them, of as many lanes as are asked for, and another takes what comes back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dataplane::{FarEnd, LaneSwitch};
use netns_tests::{Host, Lab};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::load::Load;
use super::scene::{CLIENTS_CORE, RELAY_CORE, moderate, threaded, veth};
use super::switch;
use crate::process;

const WARM_UP: Duration = Duration::from_millis(200);
const TIME: Duration = Duration::from_millis(1_000);
/// Frames of one call: to begin one takes milliseconds.
const CALL: u32 = 1 << 19;
/// How often the sink takes what has come back: before there are more than it has places for.
const SINK: Duration = Duration::from_micros(20);

/// What the relay's host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Switch,
    Reflector,
}

/// What became of the frames.
pub(super) struct Sunk {
    /// Packets that came back, for each second of the relay's core.
    pub(super) packets_per_core: f64,
    /// Which part of the time that core was busy.
    pub(super) busy: f64,
}

struct Bare {
    relay: Host,
    far: Host,
    devices: [String; 2],
    receiver: u32,
}

impl Bare {
    fn new() -> Result<Self> {
        let lab = Lab::new("relay-far-end")?;
        let (relay, far) = (lab.host("relay")?, lab.host("far")?);
        let own = std::process::id();
        let devices = [format!("r{own}"), format!("f{own}")];
        let [near, end] = &devices;
        veth([(&relay, near), (&far, end)])?;
        let receiver = threaded(&relay, near, RELAY_CORE)?;
        let sink = threaded(&far, end, CLIENTS_CORE)?;
        // Before the source, with which it shares a core.
        let mut first = std::process::Command::new("chrt");
        process::quietly(first.args(["--fifo", "--pid", "10", &sink.to_string()]))?;
        moderate(&far, end, SINK)?;
        Ok(Self { relay, far, devices, receiver })
    }
}

/// Measures once.
pub(super) fn measure(runs: Runs, Load { pairs, size, .. }: Load) -> Result<Sunk> {
    let bare = Bare::new()?;
    let [near, end] = &bare.devices;
    let attached = bare.relay.enter(|| match runs {
        Runs::Switch => switch::with_lanes(near),
        Runs::Reflector => switch::with_reflector(near),
    })??;
    let size = u16::try_from(size).context("a size of packets")?;
    let first = switch::first_frame(size)?;
    let ends = u16::try_from(2 * pairs).context("a number of ends")?;
    let sunk = bare.far.enter(|| -> Result<Sunk> {
        let mut far_end = FarEnd::of(end, &first, ends)?;
        let mut core = CpuSet::new();
        core.set(CLIENTS_CORE.parse().context("a core")?);
        sched_setaffinity(None, &core).context("keeping to a core")?;
        load(&mut far_end, WARM_UP)?;
        let before = (Instant::now(), far_end.sunk()?, run_time(bare.receiver)?);
        load(&mut far_end, TIME)?;
        let (sunk, busy) = (far_end.sunk()? - before.1, run_time(bare.receiver)? - before.2);
        ensure!(sunk > 0 && !busy.is_zero(), "nothing came back");
        #[allow(clippy::cast_precision_loss, reason = "a second of packets is exact")]
        let packets_per_core = sunk as f64 / busy.as_secs_f64();
        Ok(Sunk { packets_per_core, busy: busy.as_secs_f64() / before.0.elapsed().as_secs_f64() })
    })??;
    switched_all(&attached, runs)?;
    Ok(sunk)
}

/// How long a thread has run so far.
fn run_time(thread: u32) -> Result<Duration> {
    let file = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let time = text.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(time.parse().with_context(|| format!("an unreadable {file}"))?))
}

fn load(far_end: &mut FarEnd, time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        far_end.send(CALL)?;
    }
    Ok(())
}

/// Nothing that was offered is to be dropped for a reason of the switch's.
fn switched_all(switch: &LaneSwitch, runs: Runs) -> Result<()> {
    let drops = switch.totals()?.drops;
    ensure!(runs == Runs::Reflector || drops.is_empty(), "the switch has dropped: {drops:?}");
    Ok(())
}
