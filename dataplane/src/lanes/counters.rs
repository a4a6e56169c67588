//! What the switch has counted.

use std::{
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, PerCpuArray},
};
use dataplane_common::{DropReason, LaneCounters};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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

/// The kernel's table of what each lane has sent, in this process's memory: to read a hundred
/// thousand of them takes no system call.
#[derive(Debug)]
pub(super) struct CounterTable {
    start: NonNull<AtomicU64>,
    cpus: u32,
    lanes: u32,
    /// What the lanes have sent that are no more: packets and bytes.
    gone: [u64; 2],
}

// SAFETY: memory of the whole process, in which others write whole words only.
#[allow(unsafe_code, reason = "a pointer that is nobody's but this value's")]
unsafe impl Send for CounterTable {}

impl CounterTable {
    #[allow(unsafe_code, reason = "a map of the kernel's memory")]
    pub(super) fn of(ebpf: &Ebpf, cpus: u32, lanes: u32) -> Result<Self, Error> {
        let name = object::LANE_COUNTERS;
        let Some(Map::Array(map)) = ebpf.map(name) else { return Err(Error::Object { name }) };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let length = length(cpus, lanes);
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, map.fd().as_fd(), 0)
        };
        let failed = |reason: String| Error::Map { map: name, action: "map", reason };
        let start = start.map_err(|error| failed(error.to_string()))?;
        let start = NonNull::new(start.cast()).ok_or_else(|| failed("no address".to_owned()))?;
        Ok(Self { start, cpus, lanes, gone: [0; 2] })
    }

    /// What the lane at this place has sent.
    pub(super) fn at(&self, place: u32) -> LaneCounters {
        let mut total = [0; LaneCounters::WORDS];
        for cpu in 0..self.cpus {
            for (total, word) in total.iter_mut().zip(self.words(cpu, place)) {
                *total += word.load(Ordering::Relaxed);
            }
        }
        LaneCounters::from_words(total)
    }

    /// Clears what the lane at this place has sent; only the sum of all keeps it.
    pub(super) fn clear(&mut self, place: u32) {
        let LaneCounters { packets, bytes, .. } = self.at(place);
        self.gone = [self.gone[0] + packets, self.gone[1] + bytes];
        for cpu in 0..self.cpus {
            self.words(cpu, place).iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }

    /// Packets and bytes of all lanes that there are or were, in so many places.
    fn all(&self, used: u32) -> [u64; 2] {
        (0..used)
            .map(|place| self.at(place))
            .fold(self.gone, |[packets, bytes], lane| [packets + lane.packets, bytes + lane.bytes])
    }

    #[allow(unsafe_code, reason = "a map of the kernel's memory")]
    fn words(&self, cpu: u32, place: u32) -> &[AtomicU64; LaneCounters::WORDS] {
        assert!(cpu < self.cpus && place < self.lanes, "place {place} of {}", self.lanes);
        let index = LaneCounters::index(cpu, self.lanes, place) as usize;
        // SAFETY: within the map, which lives as long as this, and aligned as its pages are.
        unsafe { self.start.cast::<LaneCounters>().add(index).cast().as_ref() }
    }
}

impl Drop for CounterTable {
    #[allow(unsafe_code, reason = "a map of the kernel's memory")]
    fn drop(&mut self) {
        // SAFETY: what `of` has mapped, to which no reference outlives this. It cannot fail then.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), length(self.cpus, self.lanes)) };
    }
}

const fn length(cpus: u32, lanes: u32) -> usize {
    cpus as usize * lanes as usize * size_of::<LaneCounters>()
}

pub(super) fn totals(ebpf: &Ebpf, table: &CounterTable, used: u32) -> Result<LaneTotals, Error> {
    let [packets, bytes] = table.all(used);
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
