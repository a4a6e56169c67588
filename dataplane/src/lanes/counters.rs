//! What the switch has counted.

use aya::{
    Ebpf,
    maps::{Array, PerCpuArray},
};
use dataplane_common::{DropReason, LaneCounters};

use super::{failed, object};
use crate::Error;

/// The counters of a whole switch, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneTotals {
    /// Datagrams that went on.
    pub packets: u64,
    /// Their bytes, from the lane header on.
    pub bytes: u64,
    /// STUN requests answered.
    pub answers: u64,
    /// Packets dropped, for each reason that occurred.
    pub drops: Vec<(DropReason, u64)>,
}

impl LaneTotals {
    /// Packets dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.iter().find(|(dropped, _)| *dropped == reason).map_or(0, |(_, count)| *count)
    }
}

type Words = [u64; LaneCounters::WORDS];

/// What a lane has sent, or all have: at the place after the last lane's.
pub(super) fn at(ebpf: &Ebpf, cpus: u32, lanes: usize, place: u32) -> Result<LaneCounters, Error> {
    let name = object::LANE_COUNTERS;
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let map = Array::<_, Words>::try_from(map).map_err(|_| Error::Object { name })?;
    let mut total = [0; LaneCounters::WORDS];
    for index in indices(cpus, lanes, place) {
        let words = map.get(&index, 0).map_err(|error| failed(name, "read", &error))?;
        total.iter_mut().zip(words).for_each(|(total, word)| *total += word);
    }
    Ok(LaneCounters::from_words(total))
}

/// Clears the counters that another lane may have left.
pub(super) fn clear(ebpf: &mut Ebpf, cpus: u32, lanes: usize, place: u32) -> Result<(), Error> {
    let name = object::LANE_COUNTERS;
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut map = Array::<_, Words>::try_from(map).map_err(|_| Error::Object { name })?;
    for index in indices(cpus, lanes, place) {
        let cleared = map.set(index, [0; LaneCounters::WORDS], 0);
        cleared.map_err(|error| failed(name, "clear", &error))?;
    }
    Ok(())
}

fn indices(cpus: u32, lanes: usize, place: u32) -> impl Iterator<Item = u32> {
    let lanes = u32::try_from(lanes).unwrap_or(u32::MAX);
    (0..cpus).map(move |cpu| LaneCounters::index(cpu, lanes, place))
}

pub(super) fn totals(ebpf: &Ebpf, cpus: u32, lanes: usize) -> Result<LaneTotals, Error> {
    let all = u32::try_from(lanes).unwrap_or(u32::MAX);
    let LaneCounters { packets, bytes, .. } = at(ebpf, cpus, lanes, all)?;
    let answers = per_cpu(ebpf, object::ANSWERS, 0)?;
    let mut drops = Vec::new();
    for reason in DropReason::ALL {
        let count = per_cpu(ebpf, object::DROPS, reason as u32)?;
        if count > 0 {
            drops.push((reason, count));
        }
    }
    Ok(LaneTotals { packets, bytes, answers, drops })
}

fn per_cpu(ebpf: &Ebpf, name: &'static str, index: u32) -> Result<u64, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let map = PerCpuArray::<_, u64>::try_from(map).map_err(|_| Error::Object { name })?;
    let values = map.get(&index, 0).map_err(|error| failed(name, "read", &error))?;
    Ok(values.iter().sum())
}
