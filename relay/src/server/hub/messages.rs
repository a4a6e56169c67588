//! What the hub is told, and what it gives.

use std::time::Duration;

use bytes::Bytes;
use proto::control::RevocationFrame;
use proto::relay::Refusal;
use tokio::sync::oneshot;

use crate::core::{Admitted, ClientId, Counters, Delivery, Members, MeshStatus, Totals, Way};
use crate::server::interfaces::Interface;
use crate::server::kernel_switch::{KernelReport, KernelSwitch};
use crate::server::line::LineSender;
use crate::server::mesh::ToMesh;
use crate::server::xdp::XdpStatus;

/// What the hub gives to a connection. The core bounds how much of it is not written yet.
pub(in crate::server) enum ToConnection {
    /// Boxed: a line has room for some of these from the start, and a silent client should cost
    /// little.
    Deliver(Box<Delivery>),
    Close,
}

/// What the hub is told.
pub(in crate::server) enum ToHub {
    /// A node has proven itself.
    Join(Box<Join>),
    /// A client has a new ticket.
    Renew(ClientId, Box<Admitted>),
    /// Frames of a client's stream, whole ones, each with its length.
    Frames(ClientId, Bytes),
    /// Frames of a client's datagrams, without lengths.
    Datagrams(ClientId, Vec<Bytes>),
    /// A connection has written so much.
    Written(ClientId, usize),
    /// A client has broken a rule.
    Refuse(ClientId, Refusal),
    /// A connection has ended.
    Left(ClientId),
    /// What concerns other relays of the region.
    Mesh(ToMesh),
    /// The control plane says who is not to be served.
    Revoke(Box<RevocationFrame>),
    /// Only these are to be served.
    Serve(Box<Members>),
    /// An operator wants to know.
    Report(oneshot::Sender<Report>),
    /// The host's interfaces have changed.
    Interfaces(Vec<Interface>),
    /// They have, and the kernel may switch now.
    Switch(Box<Offer>),
    /// The relay is to end.
    Drain(Duration),
}

/// A node that has proven itself.
pub(in crate::server) struct Join {
    pub(in crate::server) admitted: Admitted,
    pub(in crate::server) way: Way,
    pub(in crate::server) line: LineSender,
    pub(in crate::server) reply: oneshot::Sender<Result<ClientId, Refusal>>,
}

/// A switch in the kernel that hangs nowhere yet, or why there is none.
pub(in crate::server) struct Offer {
    pub(in crate::server) kernel: Result<KernelSwitch, String>,
    pub(in crate::server) interfaces: Vec<Interface>,
    /// Whether it hangs somewhere now.
    pub(in crate::server) reply: oneshot::Sender<bool>,
}

/// What the hub has counted.
pub(in crate::server) struct Report {
    pub(in crate::server) totals: Totals,
    pub(in crate::server) counters: Counters,
    /// Whether there is a port for lanes.
    pub(in crate::server) takes_lanes: bool,
    /// Ends of lanes that are bound.
    pub(in crate::server) bound: usize,
    /// The region, if there is one.
    pub(in crate::server) mesh: Option<MeshStatus>,
    /// Where lanes are switched.
    pub(in crate::server) xdp: XdpStatus,
    /// What the kernel has counted, if it switches.
    pub(in crate::server) kernel: Option<KernelReport>,
}
