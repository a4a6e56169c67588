//! The flows that the kernel remembers.

mod memory;

use aya::{Ebpf, maps::Map};
use dataplane_common::{Flow, FlowHash, FlowKey, FlowTable, Nanos, Secret};

use crate::{Error, object};
use memory::Memory;

/// How many flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// Of those that were answered.
    pub answered: usize,
    /// Of those that were not, yet.
    pub opening: usize,
}

/// The tables of flows, read and written where the kernel's programs do.
#[derive(Debug)]
pub(crate) struct Flows {
    answered: Memory,
    opening: Memory,
    secret: Secret,
}

impl Flows {
    /// Those of the loaded programs, which have this secret.
    pub(crate) fn of(ebpf: &Ebpf, secret: Secret) -> Result<Self, Error> {
        let [answered, opening] = [FlowTable::Answered, FlowTable::Opening].map(|table| {
            let name = name(table);
            match ebpf.map(name) {
                Some(Map::Array(map)) => Memory::of(name, map, table.sets()),
                _ => Err(Error::Object { name }),
            }
        });
        Ok(Self { answered: answered?, opening: opening?, secret })
    }

    /// How many flows are in each table.
    pub(crate) fn counts(&self) -> FlowCounts {
        let count = |table| self.table(table).flows(0..usize::MAX).count();
        FlowCounts { answered: count(FlowTable::Answered), opening: count(FlowTable::Opening) }
    }

    /// Every flow. What packets change meanwhile may be missing or there twice.
    pub(crate) fn all(&self) -> Vec<(FlowKey, Flow)> {
        let flows =
            FlowTable::ALL.into_iter().flat_map(|table| self.table(table).flows(0..usize::MAX));
        flows.map(|found| (found.key, found.flow)).collect()
    }

    /// The flow under a key.
    pub(crate) fn find(&self, key: &FlowKey) -> Option<Flow> {
        let hash = FlowHash::of(key, &self.secret);
        FlowTable::ALL.into_iter().find_map(|table| {
            hash.sets(table.sets()).into_iter().find_map(|set| {
                let set = usize::try_from(set).ok()?;
                let mut flows = self.table(table).flows(set..set + 1);
                flows.find(|found| found.key == *key).map(|found| found.flow)
            })
        })
    }

    /// Forgets the flows past their lifetime. Gives those whose end was not told before.
    pub(crate) fn expired(&self, now: Nanos) -> Vec<(FlowKey, Flow)> {
        let mut removed = Vec::new();
        for memory in FlowTable::ALL.map(|table| self.table(table)) {
            for found in memory.flows(0..usize::MAX) {
                let expired = found.flow.expired(found.key.protocol(), now);
                if expired && memory.remove(&found) && !found.flow.ended() {
                    removed.push((found.key, found.flow));
                }
            }
        }
        removed
    }

    fn table(&self, table: FlowTable) -> &Memory {
        match table {
            FlowTable::Answered => &self.answered,
            FlowTable::Opening => &self.opening,
        }
    }
}

fn name(table: FlowTable) -> &'static str {
    match table {
        FlowTable::Answered => object::FLOWS,
        FlowTable::Opening => object::OPENING,
    }
}
