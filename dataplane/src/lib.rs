//! The user half of the data plane: loads the kernel programs, fills their maps, attaches them and
//! reads their counters. The only crate that names aya.
//!
//! The eBPF objects are committed beside the sources (`ebpf/*.bpf.o`, written by
//! `cargo xtask build-ebpf`), so that building this crate takes no eBPF toolchain.

mod attach;
mod base;
mod buckets;
mod counters;
mod error;
mod events;
mod flows;
mod lanes;
mod layout;
mod live;
mod mapped;
mod memory;
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
    Address, Allowance, Answer, Class, ClientPlace, Direction, DropReason, Egress, EndReason,
    Event, EventKind, Flow, FlowKey, FlowTable, Generation, Identity, IndexMask, Lane,
    LaneCounters, LaneEnd, LaneId, Loss, MAX_SHARDS, Nanos, NetworkPlace, Opener, Rate, RuleIndex,
    Ruling, ShardId, Shards, Slot, Traffic, Verdict,
};
/// What a rule decided on.
pub type RuleCounter = Traffic;

pub use error::Error;
pub use events::{Events, EventsSize};
pub use flows::FlowCounts;
pub use lanes::{FarEnd, LaneOptions, LaneSwitch, LaneTotals, Switched, Wire, XdpMode};
pub use live::Lookup;
pub use memory::MemoryTables;
pub use model::Model;
pub use pins::Pins;
pub use programs::{Action, PolicyPrograms};
pub use steering::Steering;
pub use tunnel::TunnelPolicy;

// A rule of any valid document has a counter.
const _: () = assert!(policy::MAX_RULES <= dataplane_common::MAX_RULES as usize);
