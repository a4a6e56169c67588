//! The flows that the kernel remembers.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use dataplane_common::{Flow, FlowKey};

use crate::{Error, tables::map_error};

/// How many flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// Of those that were answered.
    pub answered: usize,
    /// Of those that were not, yet.
    pub opening: usize,
}

type KeyWords = [u64; size_of::<FlowKey>() / 8];
type FlowWords = [u64; size_of::<Flow>() / 8];

/// The keys of a table of flows. What other packets change meanwhile may be missing or there twice.
pub(crate) fn keys(ebpf: &Ebpf, name: &'static str) -> Result<Vec<KeyWords>, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let flows = HashMap::<&MapData, KeyWords, FlowWords>::try_from(map)
        .map_err(|_| Error::Object { name })?;
    flows.keys().map(|key| key.map_err(|error| map_error(name, "read", &error))).collect()
}
