//! The embedded object, and the names of what is in it.

/// The relay's kernel half, as `cargo xtask build-ebpf` wrote it.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/lanes.bpf.o");

/// Programs, by the names of their functions in `dataplane-ebpf/src/lanes/`.
pub(super) const SWITCH: &str = "lanes";
pub(super) const REFLECT: &str = "reflect";
pub(super) const WIRE: &str = "wire";
pub(super) const SOURCE: &str = "source";
pub(super) const SINK: &str = "sink";

/// Maps, by the names of their statics in `dataplane-ebpf/src/lanes/maps.rs`.
pub(super) const ARRIVALS: &str = "ARRIVALS";
pub(super) const ANSWERS: &str = "ANSWERS";
pub(super) const LANES: &str = "LANES";
pub(super) const LANE_ADDRESSES: &str = "LANE_ADDRESSES";
pub(super) const CLIENTS: &str = "CLIENTS";
pub(super) const NETWORKS: &str = "NETWORKS";
pub(super) const LANE_SENT: &str = "LANE_SENT";
pub(super) const LANE_DROPS: &str = "LANE_DROPS";
pub(super) const DROPS: &str = "DROPS";
pub(super) const LOCALS: &str = "LOCALS";
pub(super) const INTERFACES: &str = "INTERFACES";
pub(super) const SUNK: &str = "SUNK";

/// Statics there that the loader writes.
pub(super) const PORT: &str = "PORT";
pub(super) const ALLOWANCE: &str = "ALLOWANCE";
pub(super) const TICK: &str = "TICK";
pub(super) const CAPACITY: &str = "CAPACITY";
pub(super) const FIRST_HEAD: &str = "FIRST_HEAD";
pub(super) const ENDS: &str = "ENDS";
