//! The maps. Their names are the ones by which `dataplane` finds them.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use dataplane_common::{
    ANSWERED_SETS, Base, BucketWords, DROP_REASONS, EVENTS_BYTES, EventWords, FlowSet, Fragment, FragmentKey,
    Loss, MAX_FRAGMENTS, OPENING_SETS, Pace, PolicyHead, TableKey,
};

// The tables of a policy are made by the loader, each as large as it has to be; the sizes here are
// only the pattern's. There are two slots for each, one of which is in force: see `Generation::slot`.

/// Hosts and rules: the words of `ExactBucket`s. The flags, and words in place of a struct: the sizes
/// of arrays in a slot may differ, and Linux 6.1 puts none into a slot whose pattern names a
/// struct, unless the array names it too.
pub type Exact = Array<BucketWords, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

/// Prefixes shorter than a host.
pub type Prefixes = LpmTrie<TableKey, u32, 1>;

/// What rules decided, by `dataplane_common::counter_index`: the words of a `Traffic`.
pub type RuleCounters = Array<[u64; 2], 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

/// Flows, in memory that the user half maps to read them as they are.
pub type Flows<const SETS: usize> = Array<FlowSet, SETS, { BPF_F_MMAPABLE as usize }>;

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

/// What every packet is judged by. In memory that the user half maps, to write the generation at
/// once.
#[btf_map]
pub static BASE: Array<Base, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Flows that were answered.
#[btf_map]
pub static FLOWS: Flows<{ ANSWERED_SETS as usize }> = Array::new();

/// Flows that were not answered, yet.
#[btf_map]
pub static OPENING: Flows<{ OPENING_SETS as usize }> = Array::new();

/// What becomes of flows, and denials. The loader may choose another size.
#[btf_map]
pub static EVENTS: RingBuf<EventWords, { EVENTS_BYTES as usize }> = RingBuf::new();

/// Events that were not told, by `Loss`.
#[btf_map]
pub static EVENTS_LOST: PerCpuArray<u64, { Loss::ALL.len() }> = PerCpuArray::new();

/// How fast events are told.
#[btf_map]
pub static PACE: PerCpuArray<Pace, 1> = PerCpuArray::new();

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
