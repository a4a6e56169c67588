//! The user half of the data plane: loads the kernel programs, fills their maps, attaches them and
//! reads their counters. The only crate that names aya.
//!
//! The eBPF objects are committed beside the sources (`ebpf/*.bpf.o`, written by
//! `cargo xtask build-ebpf`), so that building this crate takes no eBPF toolchain.

mod attach;
mod counters;
mod error;
mod lanes;
mod model;
mod object;
mod pins;
mod programs;
mod steering;
mod tables;
mod tunnel;

pub use attach::AttachKind;
pub use counters::Counters;
pub use dataplane_common::{
    Allowance, Direction, DropReason, Egress, Generation, IndexMask, Lane, LaneCounters, LaneEnd,
    LaneId, MAX_SHARDS, Nanos, Rate, RuleCounter, RuleIndex, ShardId, Shards, Slot, Verdict,
};
pub use error::Error;
pub use lanes::{LaneOptions, LaneSwitch, LaneTotals, Switched, XdpMode};
pub use model::Model;
pub use pins::Pins;
pub use programs::{Action, PolicyPrograms};
pub use steering::Steering;
pub use tunnel::TunnelPolicy;

// A rule of any valid document has a counter.
const _: () = assert!(policy::MAX_RULES <= dataplane_common::MAX_RULES as usize);
