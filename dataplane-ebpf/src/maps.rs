//! The maps. Their names are the ones by which `dataplane` finds them.

use aya_ebpf::{
    bindings::BPF_F_INNER_MAP,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use dataplane_common::{
    DROP_REASONS, ExactKey, Flow, FlowKey, Fragment, FragmentKey, MAX_FLOWS, MAX_FRAGMENTS,
    MAX_OPENING, PolicyHead, TableKey, Traffic,
};

// The tables of a policy are made by the loader, each as large as it has to be; the sizes here are
// only the pattern's. There are two slots for each, one of which is in force: see `Generation::slot`.

/// Hosts and rules.
pub type Exact = HashMap<ExactKey, u64, 1>;

/// Prefixes shorter than a host.
pub type Prefixes = LpmTrie<TableKey, u32, 1>;

/// What rules decided, by `dataplane_common::counter_index`. The flag: its size may differ.
pub type RuleCounters = Array<Traffic, 1, { BPF_F_INNER_MAP as usize }>;

/// Hosts and rules of two policies.
#[btf_map]
pub static EXACT: ArrayOfMaps<Exact, 2> = ArrayOfMaps::new();

/// Prefixes of two policies.
#[btf_map]
pub static PREFIXES: ArrayOfMaps<Prefixes, 2> = ArrayOfMaps::new();

/// Counters of two policies.
#[btf_map]
pub static RULES: ArrayOfMaps<RuleCounters, 2> = ArrayOfMaps::new();

/// The heads of two policies.
#[btf_map]
pub static HEADS: Array<PolicyHead, 2> = Array::new();

/// The generation of the policy in force: writing it is what puts a policy in force.
#[btf_map]
pub static GENERATION: Array<u32, 1> = Array::new();

/// Flows that were answered. The kernel keeps one list of all CPUs for what to evict; it takes from
/// it when no element is free, and gives each CPU 128 at a time.
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, { MAX_FLOWS as usize }> = LruHashMap::new();

/// Flows that were not answered, yet.
#[btf_map]
pub static OPENING: LruHashMap<FlowKey, Flow, { MAX_OPENING as usize }> = LruHashMap::new();

/// Fragmented datagrams whose first fragment was allowed.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();

/// Packets that a remembered flow let through, in either direction.
#[btf_map]
pub static FLOW_HITS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Drops, by `DropReason::index`.
#[btf_map]
pub static DROPS: PerCpuArray<u64, DROP_REASONS> = PerCpuArray::new();
