//! The maps. Their names are the ones by which `dataplane` finds them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use dataplane_common::{
    COUNTERS_PER_GENERATION, DROP_REASONS, Flow, FlowKey, Fragment, FragmentKey, MAX_FLOWS,
    MAX_FRAGMENTS, RuleCounter, TableKey,
};

/// The compiled policy. The real tries are made by the loader, each as large as its policy; this
/// size is only the pattern's.
pub type PolicyTrie = LpmTrie<TableKey, u32, 1>;

/// The policy in force: one slot, so that a change is one swap of a pointer.
#[btf_map]
pub static POLICY: ArrayOfMaps<PolicyTrie, 1> = ArrayOfMaps::new();

/// The generation of the policy in force, written after the swap.
#[btf_map]
pub static GENERATION: Array<u32, 1> = Array::new();

/// Flows by [`FlowKey`].
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, { MAX_FLOWS as usize }> = LruHashMap::new();

/// Fragmented datagrams whose first fragment was allowed.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();

/// What each rule allowed, by `dataplane_common::counter_index`.
#[btf_map]
pub static RULES: PerCpuArray<RuleCounter, { 2 * COUNTERS_PER_GENERATION as usize }> =
    PerCpuArray::new();

/// Packets that a remembered flow let through, in either direction.
#[btf_map]
pub static FLOW_HITS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Drops, by `DropReason::index`.
#[btf_map]
pub static DROPS: PerCpuArray<u64, DROP_REASONS> = PerCpuArray::new();
