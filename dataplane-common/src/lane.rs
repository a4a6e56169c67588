//! Lanes: the datagrams that a relay passes on between two ends, and the one function that decides
//! about them.
//!
//! A lane is known by two numbers, one for each end. An end sends datagrams that name its own
//! number; they leave with the number of the other end. [`switch`] does so to whole frames, for the
//! kernel program and its oracle; [`judge`] is the part of it that a relay's sockets need.

mod arrival;
mod bucket;
mod bytes;
mod checksum;
mod end;
mod entry;
mod frame;
mod header;
mod judge;
mod offer;
mod rate;
mod reflect;
mod rewrite;
mod switch;
mod table;
mod words;

pub use arrival::{Arrival, MAX_ARRIVALS, Sender};
pub use bucket::{ClientBucket, ClientPlace, NetworkBucket, NetworkPlace};
pub(crate) use checksum::Sum;
pub use end::{Egress, LaneEnd, LaneId, MAX_LANE_ENDS};
pub use entry::{HotLane, Lane, LaneAddresses, LaneEntry, LaneSlot};
pub(crate) use frame::Outer;
pub use frame::{Frame, PacketBytesMut};
use header::AtPort;
pub use header::{LANE_HEADER_LEN, LANE_MAGIC, LaneHeader, LaneKind};
pub use judge::{Datagram, Judged, LaneTable, RelayTable, judge};
pub use offer::{OfferedHead, offer};
pub(crate) use rate::take;
pub use rate::{COARSEST_CLOCK, Rate};
pub use reflect::reflect;
pub use switch::{Action, Forwarded, switch};
pub use table::{
    Allowance, AskerNetwork, LaneCounters, LaneDrops, LaneSent, MAX_ASKERS, MAX_INTERFACES,
    MAX_LOCALS,
};
pub(crate) use words::{V4Pair, Words};
