//! The maps. Their names are the ones by which `dataplane` finds them.

use aya_ebpf::{
    btf_maps::{Array, LpmTrie, ReusePortSockArray},
    macros::btf_map,
};
use dataplane_common::{MAX_NETWORKS, MAX_SHARDS, NetworkKey, SteeringParameters};

/// [`SteeringParameters`], as words.
#[btf_map]
pub static PARAMETERS: Array<[u32; 2], 1> = Array::new();

/// The slot of the peer behind each network.
#[btf_map]
pub static NETWORKS: LpmTrie<NetworkKey, u32, { MAX_NETWORKS as usize }> = LpmTrie::new();

/// The socket of each shard.
#[btf_map]
pub static SOCKETS: ReusePortSockArray<{ MAX_SHARDS as usize }> = ReusePortSockArray::new();

/// What to go by; `None` before the loader has said it.
#[inline(always)]
pub fn parameters() -> Option<SteeringParameters> {
    SteeringParameters::from_words(*PARAMETERS.get(0)?)
}
