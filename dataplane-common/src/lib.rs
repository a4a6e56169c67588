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
mod limits;
mod lookup;
mod network;
mod packet;
mod ports;
mod steering;
mod table;
mod verdict;

pub use address::Address;
pub use counters::{Traffic, counter_index};
pub use drop_reason::{DROP_REASONS, DropReason};
pub use flow::{Flow, FlowKey, Fragment, FragmentKey, Nanos, Opener, lifetime};
pub use frame::in_own_frame;
pub use limits::{
    FLOW_REFRESH, FRAGMENT_LIFETIME, LAYOUT, MAX_EXACT, MAX_FLOWS, MAX_FRAGMENTS, MAX_PREFIXES,
    MAX_RULES,
};
pub use lookup::{PolicyTable, class, identity, ruling};
pub use network::{MAX_NETWORKS, NetworkKey, NetworkPrefix};
pub use packet::{Headers, PacketBytes, Transport, parse, protocol};
pub use ports::{Ports, Ruling, SIGNPOST, Span};
pub use steering::{
    IndexMask, MAX_SHARDS, SLOTS, ShardId, Shards, Slot, SteeringParameters, receiver_index,
};
pub use table::{
    Class, ExactKey, Generation, Identity, PolicyHead, RuleIndex, RuleKey, TableKey, TablePrefix,
};
pub use verdict::{Direction, StateTable, Verdict, verdict};
