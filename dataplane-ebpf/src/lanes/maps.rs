//! The maps. Their names are the ones by which `dataplane` finds them.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, DevMapHash, HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use dataplane_common::{
    Address, Allowance, Arrival, AskerNetwork, ClientBucket, DROP_REASONS, LaneAddresses, LaneDrops, LaneSent, LaneSlot,
    MAX_ARRIVALS, MAX_ASKERS, MAX_INTERFACES, MAX_LOCALS, Nanos, NetworkBucket, OfferedHead, Sender,
};

/// The port of lanes and STUN: written by the loader.
#[unsafe(no_mangle)]
static PORT: u16 = 0;

/// What STUN askers may have, as words; zeros if they are not answered here: written by the loader.
#[unsafe(no_mangle)]
static ALLOWANCE: [u64; 2] = [0; 2];

/// How long the kernel's tick is: written by the loader.
#[unsafe(no_mangle)]
static TICK: u64 = 0;

/// How many ends of lanes there can be: written by the loader.
#[unsafe(no_mangle)]
static CAPACITY: u32 = 0;

/// The headers of the first frame of a source, and how many lanes it has: written by the loader.
#[unsafe(no_mangle)]
static FIRST_HEAD: OfferedHead = [0; 7];
#[unsafe(no_mangle)]
static ENDS: u16 = 0;

/// Whole pages, so that elements of a cache line's size begin where one does.
const IN_PAGES: usize = BPF_F_MMAPABLE as usize;

/// The ends of lanes, by their place. The loader sets how many there can be.
#[btf_map]
pub static LANES: Array<LaneSlot, 1, IN_PAGES> = Array::new();

/// Their addresses in full, by the same places.
#[btf_map]
pub static LANE_ADDRESSES: Array<LaneAddresses, 1, IN_PAGES> = Array::new();

/// What clients have used of their rates, by their places. The loader sets how many there can be.
#[btf_map]
pub static CLIENTS: Array<ClientBucket, 1, IN_PAGES> = Array::new();

/// What networks have used of theirs.
#[btf_map]
pub static NETWORKS: Array<NetworkBucket, 1, IN_PAGES> = Array::new();

/// What each lane has sent, by `LaneCounters::index`. Not a per-CPU map, which would take a pointer
/// to follow for each packet, and before Linux 6.10 a call.
#[btf_map]
pub static LANE_SENT: Array<LaneSent, 1, IN_PAGES> = Array::new();

/// What of it was dropped, by the same index.
#[btf_map]
pub static LANE_DROPS: Array<LaneDrops, 1, IN_PAGES> = Array::new();

/// STUN requests answered.
#[btf_map]
pub static ANSWERS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Drops, by `DropReason::index`.
#[btf_map]
pub static DROPS: PerCpuArray<u64, DROP_REASONS> = PerCpuArray::new();

/// The relay's own addresses.
#[btf_map]
pub static LOCALS: HashMap<Address, u32, { MAX_LOCALS as usize }> = HashMap::new();

/// What networks that ask by STUN have used of their answers.
#[btf_map]
pub static ASKERS: LruHashMap<AskerNetwork, Nanos, { MAX_ASKERS as usize }> = LruHashMap::new();

/// From where those who speak about lanes were last heard.
#[btf_map]
pub static ARRIVALS: LruHashMap<Sender, Arrival, { MAX_ARRIVALS as usize }> = LruHashMap::new();

/// The interfaces by which packets may leave, by their own index.
#[btf_map]
pub static INTERFACES: DevMapHash<{ MAX_INTERFACES as usize }> = DevMapHash::new();

/// Whose frame a source makes next.
#[btf_map]
pub static OFFERED: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Frames that a sink has taken.
#[btf_map]
pub static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The port of lanes and STUN: a constant to the verifier, as the others are.
#[inline(always)]
pub fn port() -> u16 {
    // SAFETY: a static of this object; volatile, because the loader has written to it.
    unsafe { (&raw const PORT).read_volatile() }
}

/// What STUN askers may have, if they are answered here.
#[inline(always)]
pub fn allowance() -> Option<Allowance> {
    // SAFETY: as in `port`.
    Allowance::from_words(unsafe { (&raw const ALLOWANCE).read_volatile() })
}

/// How long the kernel's tick is, in nanoseconds.
#[inline(always)]
pub fn tick() -> u64 {
    // SAFETY: as in `port`.
    unsafe { (&raw const TICK).read_volatile() }
}

/// How many ends of lanes there can be.
#[inline(always)]
pub fn capacity() -> u32 {
    // SAFETY: as in `port`.
    unsafe { (&raw const CAPACITY).read_volatile() }
}

/// The headers of a source's first frame.
#[inline(always)]
pub fn first_head() -> OfferedHead {
    // SAFETY: as in `port`.
    unsafe { (&raw const FIRST_HEAD).read_volatile() }
}

/// How many lanes a source has.
#[inline(always)]
pub fn ends() -> u16 {
    // SAFETY: as in `port`.
    unsafe { (&raw const ENDS).read_volatile() }
}
