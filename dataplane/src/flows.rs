//! The flows that the kernel remembers.

mod memory;

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use dataplane_common::{Flow, FlowHash, FlowKey, FlowTable, Nanos, Secret};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, error::chain, object, tables::map_error};
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
    /// Those of the loaded programs. A table that nobody has used before gets a secret.
    pub(crate) fn of(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let secret = secret(ebpf)?;
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

/// The secret of the tables, which are useless without the one by which they were filled.
fn secret(ebpf: &mut Ebpf) -> Result<Secret, Error> {
    let name = object::SECRET;
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut map =
        Array::<&mut MapData, [u64; 5]>::try_from(map).map_err(|_| Error::Object { name })?;
    let known = map.get(&0, 0).map_err(|error| map_error(name, "read", &error))?;
    if known != [0; 5] {
        return Ok(Secret(known));
    }
    let mut fresh = [[0; 8]; 5];
    getrandom(fresh.as_flattened_mut(), GetRandomFlags::empty()).map_err(|error| Error::Map {
        map: name,
        action: "find random numbers for",
        reason: chain(&error),
    })?;
    let fresh = fresh.map(u64::from_ne_bytes);
    map.set(0, fresh, 0).map_err(|error| map_error(name, "write", &error))?;
    Ok(Secret(fresh))
}
