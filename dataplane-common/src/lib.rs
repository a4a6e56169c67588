//! What the kernel programs and the user half share: limits, map keys and values, header parsing,
//! the verdict, the reasons for which a packet is dropped, and which shard a packet belongs to.
//! `no_std`, no dependencies.
//!
//! [`verdict`] is one function for the kernel program, for `nearwire policy explain` and for the
//! tests' oracle. It reads the packet through [`PacketBytes`], the compiled policy through
//! [`PolicyTable`] and what is remembered of earlier packets through [`StateTable`]; each side
//! brings its own.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod counters;
mod drop_reason;
mod flow;
mod frame;
mod lane;
mod limits;
mod network;
mod packet;
mod steering;
pub mod stun;
mod table;
mod verdict;

pub use address::Address;
pub use counters::{COUNTERS_PER_GENERATION, RuleCounter, counter_index};
pub use drop_reason::{DROP_REASONS, DropReason};
pub use flow::{Flow, FlowKey, Fragment, FragmentKey, Nanos, Opener, lifetime};
pub use frame::in_own_frame;
pub use lane::{
    Action as LaneAction, Allowance, AskerNetwork, COARSEST_CLOCK, Datagram, Egress, Forwarded,
    Frame, Judged, LANE_HEADER, Lane, LaneCell, LaneCounters, LaneEnd, LaneEntry, LaneId,
    LaneMessage, LaneSlot, LaneTable, MAGIC as LANE_MAGIC, MAX_ASKERS, MAX_INTERFACES, MAX_LANES,
    MAX_LOCALS, PacketBytesMut, Rate, judge, reflect, switch,
};
pub use limits::{FLOW_REFRESH, FRAGMENT_LIFETIME, LAYOUT, MAX_FLOWS, MAX_FRAGMENTS, MAX_RULES};
pub use network::{MAX_NETWORKS, NetworkKey, NetworkPrefix};
pub use packet::{Headers, PacketBytes, Transport, parse, protocol};
pub use steering::{
    IndexMask, MAX_SHARDS, SLOTS, ShardId, Shards, Slot, SteeringParameters, receiver_index,
};
pub use table::{Class, Generation, Identity, RuleIndex, RuleKey, TableKey, TablePrefix};
pub use verdict::{Direction, PolicyTable, StateTable, Verdict, verdict};
