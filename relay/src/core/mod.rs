//! The relay without its sockets: who is a client, whom it reaches, and what waits for it.
//!
//! Sans-IO. [`Relay`] is handed frames of admitted clients ([`Relay::frame`]), datagrams of lanes that
//! are no data ([`Relay::lane_message`]) and the time ([`Relay::handle_timeout`], due at
//! [`Relay::poll_timeout`]). It leaves what is to be done in an [`Output`]: deliveries to
//! connections, datagrams, and changes of the table of lanes. That table, [`Switch`], carries the data
//! of lanes by itself; it changes only by what the relay says, so that the kernel can have it too.
//! Other relays of the region are reached by links ([`Relay::link_frame`]), which know who is where.
//!
//! The clock is an argument ([`Now`]), and so is all randomness. No lock is taken.

mod admission;
mod backlog;
mod bucket;
mod chain;
mod counters;
mod heaviest;
mod lanes;
mod members;
mod mesh;
mod node;
mod output;
mod queue;
mod relay;
mod revocations;
mod settings;
mod share;
mod slab;
mod stun;
mod timers;
mod turns;

pub use admission::{Admitted, ControlKeys, admit};
pub use counters::Counters;
pub use lanes::{Forward, LaneEntry, Switch, SwitchChange, Verdict};
pub use members::Members;
pub use mesh::{LinkId, LinkStatus, MeshStatus, Region, ToLink, Transit};
pub use node::{ClientId, Way};
pub use output::{Command, Delivery, Made, Output, Packet};
pub use queue::{Control, LEAST_QUEUE, Queued, UNSAID};
pub use relay::{Relay, Totals};
pub use settings::Settings;
pub use stun::{Stun, StunAnswer, StunPair};

use std::time::Instant;

use proto::ticket::UnixSeconds;

/// The time: a clock that never jumps, and the one that tickets go by.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never goes back.
    pub at: Instant,
    /// Of the wall.
    pub wall: UnixSeconds,
}
