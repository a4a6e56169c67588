//! The embedded object, and the names of what is in it.

/// The relay's kernel half, as `cargo xtask build-ebpf` wrote it.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/lanes.bpf.o");

/// Programs, by the names of their functions in `dataplane-ebpf/src/lanes/`.
pub(super) const SWITCH: &str = "lanes";
pub(super) const REFLECT: &str = "reflect";
pub(super) const WIRE: &str = "wire";

/// Maps, by the names of their statics in `dataplane-ebpf/src/lanes/maps.rs`.
pub(super) const ARRIVALS: &str = "ARRIVALS";
pub(super) const ANSWERS: &str = "ANSWERS";
pub(super) const LANES: &str = "LANES";
pub(super) const LANE_COUNTERS: &str = "LANE_COUNTERS";
pub(super) const DROPS: &str = "DROPS";
pub(super) const LOCALS: &str = "LOCALS";
pub(super) const INTERFACES: &str = "INTERFACES";

/// Statics there that the loader writes.
pub(super) const PORT: &str = "PORT";
pub(super) const ALLOWANCE: &str = "ALLOWANCE";
pub(super) const TICK: &str = "TICK";
pub(super) const CAPACITY: &str = "CAPACITY";
