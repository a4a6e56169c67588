//! What the switch has counted.

use std::{
    os::fd::AsFd as _,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, PerCpuArray},
};
use dataplane_common::{DropReason, LaneCounters, LaneDrops, LaneSent};

use super::{failed, object};
use crate::{Error, mapped::Mapped};

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

/// The kernel's tables of what each lane has sent, in this process's memory: to read a hundred thousand
/// of them takes no system call.
#[derive(Debug)]
pub(super) struct CounterTable {
    sent: Mapped,
    drops: Mapped,
    cpus: u32,
    lanes: u32,
    /// What the lanes have sent that are no more.
    gone: LaneSent,
}

impl CounterTable {
    pub(super) fn of(ebpf: &Ebpf, cpus: u32, lanes: u32) -> Result<Self, Error> {
        let count = cpus as usize * lanes as usize;
        let mapped = |name, words| {
            let Some(Map::Array(map)) = ebpf.map(name) else { return Err(Error::Object { name }) };
            Mapped::of(name, map.fd().as_fd(), count * words)
        };
        let sent = mapped(object::LANE_SENT, SENT)?;
        let drops = mapped(object::LANE_DROPS, DROPS)?;
        Ok(Self { sent, drops, cpus, lanes, gone: [0; SENT] })
    }

    /// What the lane at this place has sent.
    pub(super) fn at(&self, place: u32) -> LaneCounters {
        let mut drops = [0; DROPS];
        for cpu in 0..self.cpus {
            add(&mut drops, self.words::<DROPS>(&self.drops, cpu, place));
        }
        let [packets, bytes] = self.sent(place);
        LaneCounters { packets, bytes, drops }
    }

    /// Clears what the lane at this place has sent; only the sum of all keeps it.
    pub(super) fn clear(&mut self, place: u32) {
        let [packets, bytes] = self.sent(place);
        self.gone = [self.gone[0] + packets, self.gone[1] + bytes];
        for cpu in 0..self.cpus {
            let words = self.words::<SENT>(&self.sent, cpu, place);
            let drops = self.words::<DROPS>(&self.drops, cpu, place);
            words.iter().chain(drops).for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }

    /// Packets and bytes of all lanes that there are or were, in so many places.
    fn all(&self, used: u32) -> LaneSent {
        (0..used)
            .map(|place| self.sent(place))
            .fold(self.gone, |[packets, bytes], lane| [packets + lane[0], bytes + lane[1]])
    }

    fn sent(&self, place: u32) -> LaneSent {
        let mut sent = [0; SENT];
        for cpu in 0..self.cpus {
            add(&mut sent, self.words::<SENT>(&self.sent, cpu, place));
        }
        sent
    }

    fn words<'a, const N: usize>(
        &self,
        mapped: &'a Mapped,
        cpu: u32,
        place: u32,
    ) -> &'a [AtomicU64] {
        assert!(cpu < self.cpus && place < self.lanes, "place {place} of {}", self.lanes);
        let index = LaneCounters::index(cpu, self.lanes, place) as usize;
        &mapped.words()[N * index..][..N]
    }
}

const SENT: usize = size_of::<LaneSent>() / size_of::<u64>();
const DROPS: usize = size_of::<LaneDrops>() / size_of::<u64>();

fn add<const N: usize>(total: &mut [u64; N], words: &[AtomicU64]) {
    for (total, word) in total.iter_mut().zip(words) {
        *total += word.load(Ordering::Relaxed);
    }
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

pub(super) fn per_cpu(ebpf: &Ebpf, name: &'static str, index: u32) -> Result<u64, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let map = PerCpuArray::<_, u64>::try_from(map).map_err(|_| Error::Object { name })?;
    let values = map.get(&index, 0).map_err(|error| failed(name, "read", &error))?;
    Ok(values.iter().sum())
}
