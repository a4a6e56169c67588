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
mod base;
mod counters;
mod direction;
mod drop_reason;
mod event;
mod exact;
mod flow;
mod flow_set;
mod frame;
mod head;
mod judgement;
mod lane;
mod limits;
mod lookup;
mod network;
mod outcome;
mod packet;
mod ports;
mod state;
mod steering;
pub mod stun;
mod subject;
mod table;
mod transport;
mod verdict;
mod words;

pub use address::Address;
pub use base::{Base, BaseWords};
pub use counters::{Traffic, counter_index};
pub use direction::Direction;
pub use drop_reason::{DROP_REASONS, DropReason};
pub use event::{
    DENIALS_PER_SECOND, EndReason, Event, EventKind, EventWords, Loss, Pace, STARTS_PER_SAMPLE,
};
pub use exact::{
    BUCKET_ENTRIES, BucketWords, ExactBucket, ExactEntry, ExactSeed, Found, find_exact,
};
pub use flow::{
    Clock, Flow, FlowKey, FlowKeyWords, FlowWords, Fragment, FragmentKey, Nanos, Opener, Tick,
};
pub use flow_set::{FlowHash, FlowPlace, FlowSet, Secret, Tag, WAYS};
pub use frame::{in_frame_of, in_own_frame};
pub use head::{HeadWords, PolicyHead};
pub use lane::{
    Action as LaneAction, Allowance, Arrival, AskerNetwork, COARSEST_CLOCK, ClientBucket,
    ClientPlace, Datagram, Egress, Forwarded, Frame, HotLane, Judged, LANE_HEADER_LEN, LANE_MAGIC,
    Lane, LaneAddresses, LaneCounters, LaneDrops, LaneEnd, LaneEntry, LaneHeader, LaneId, LaneKind,
    LaneSent, LaneSlot, LaneTable, MAX_ARRIVALS, MAX_ASKERS, MAX_INTERFACES, MAX_LANE_ENDS,
    MAX_LOCALS, NetworkBucket, NetworkPlace, OfferedHead, PacketBytesMut, Rate, RelayTable, Sender,
    judge, offer, reflect, switch,
};
pub use limits::{
    ANSWERED_SETS, EVENTS_BYTES, FRAGMENT_LIFETIME, LAYOUT, MAX_EXACT, MAX_FLOWS, MAX_FRAGMENTS,
    MAX_OPENING, MAX_PREFIXES, MAX_RULES, OPENING_SETS,
};
pub use lookup::{Answer, PolicyTable, consult};
pub use network::{MAX_NETWORKS, NetworkKey, NetworkPrefix};
pub use packet::{Extent, Headers, PacketBytes, Transport, parse, protocol};
pub use ports::{Ports, Ruling, SIGNPOST, Span};
pub use state::{FlowTable, StateTable};
pub use steering::{
    IndexMask, MAX_SHARDS, SLOTS, ShardId, Shards, Slot, SteeringParameters, receiver_index,
};
pub use table::{Class, ExactKey, Generation, Identity, RuleIndex, RuleKey, TableKey, TablePrefix};
pub use transport::Signals;
pub use verdict::{Verdict, verdict};
