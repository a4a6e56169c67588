//! The flows that the kernel remembers.

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use dataplane_common::{Flow, FlowKey, FlowKeyWords, FlowWords, Nanos};

use crate::{Error, object, tables::map_error};

/// How many flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// Of those that were answered.
    pub answered: usize,
    /// Of those that were not, yet.
    pub opening: usize,
}

/// The tables of flows.
const TABLES: [&str; 2] = [object::FLOWS, object::OPENING];

/// How many flows one call of [`Sweep::expired`] looks at.
const SWEEP_STEP: usize = 4_096;

/// How many flows are in each table.
pub(crate) fn counts(ebpf: &Ebpf) -> Result<FlowCounts, Error> {
    let [answered, opening] = TABLES;
    Ok(FlowCounts { answered: keys(ebpf, answered)?.len(), opening: keys(ebpf, opening)?.len() })
}

/// Every flow. What packets change meanwhile may be missing or there twice.
pub(crate) fn all(ebpf: &Ebpf) -> Result<Vec<(FlowKey, Flow)>, Error> {
    let mut all = Vec::new();
    for name in TABLES {
        let table = table(ebpf, name)?;
        for key in keys(ebpf, name)? {
            if let Some(flow) = get(&table, name, &key)? {
                all.push((FlowKey::from_words(key), flow));
            }
        }
    }
    Ok(all)
}

/// The flow under a key.
pub(crate) fn find(ebpf: &Ebpf, key: &FlowKey) -> Result<Option<Flow>, Error> {
    for name in TABLES {
        if let Some(flow) = get(&table(ebpf, name)?, name, &key.to_words())? {
            return Ok(Some(flow));
        }
    }
    Ok(None)
}

/// A walk over the flows, a step at a time, that removes those past their lifetime.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    left: Vec<(&'static str, FlowKeyWords)>,
}

impl Sweep {
    /// Goes on with the walk, or begins another. Gives the flows that it removed and whose end was
    /// not told before.
    pub(crate) fn expired(
        &mut self,
        ebpf: &mut Ebpf,
        now: Nanos,
    ) -> Result<Vec<(FlowKey, Flow)>, Error> {
        if self.left.is_empty() {
            for name in TABLES {
                self.left.extend(keys(ebpf, name)?.into_iter().map(|key| (name, key)));
            }
        }
        let step = self.left.len().saturating_sub(SWEEP_STEP);
        let mut removed = Vec::new();
        for (name, words) in self.left.drain(step..) {
            let Some(flow) = get(&table(ebpf, name)?, name, &words)? else { continue };
            let key = FlowKey::from_words(words);
            if !flow.expired(key.protocol, now) {
                continue;
            }
            remove(ebpf, name, &words)?;
            if !flow.ended() {
                removed.push((key, flow));
            }
        }
        Ok(removed)
    }
}

type Table<'a> = HashMap<&'a MapData, FlowKeyWords, FlowWords>;

fn table<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<Table<'a>, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    HashMap::try_from(map).map_err(|_| Error::Object { name })
}

fn keys(ebpf: &Ebpf, name: &'static str) -> Result<Vec<FlowKeyWords>, Error> {
    let table = table(ebpf, name)?;
    table.keys().map(|key| key.map_err(|error| map_error(name, "read", &error))).collect()
}

fn get(table: &Table<'_>, name: &'static str, key: &FlowKeyWords) -> Result<Option<Flow>, Error> {
    match table.get(key, 0) {
        Ok(words) => Ok(Some(Flow::from_words(words))),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(map_error(name, "read", &error)),
    }
}

fn remove(ebpf: &mut Ebpf, name: &'static str, key: &FlowKeyWords) -> Result<(), Error> {
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut table = HashMap::<&mut MapData, FlowKeyWords, FlowWords>::try_from(map)
        .map_err(|_| Error::Object { name })?;
    match table.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        // A packet, or the kernel for want of room, was first.
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(map_error(name, "write", &error)),
    }
}
