//! A node of a network, with its connection if it has one. It is kept without a connection as long as
//! it has lanes, so that it may come back to them.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Instant;

use proto::key::PublicKey;
use proto::ticket::{UnixSeconds, VerifyingKey};

use super::backlog::QueueBacklog;
use super::bucket::Bucket;
use super::queue::Queue;
use super::share::Part;
use super::slab::Index;

/// A connection of a node; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    pub(super) node: Index,
    pub(super) connection: u32,
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// QUIC.
    Quic,
    /// TLS on TCP.
    Tls,
}

impl Way {
    /// The name that metrics and JSON use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
        }
    }
}

/// One node.
pub(super) struct Node {
    pub(super) network: Index,
    pub(super) key: PublicKey,
    /// By which it has proven itself.
    pub(super) identity: VerifyingKey,
    pub(super) connection: Option<Connection>,
    /// How many connections it has had.
    pub(super) connections: u32,
    /// The lane to each peer that it has one to.
    pub(super) lanes: HashMap<PublicKey, Index>,
    /// When its service ends.
    pub(super) until: UnixSeconds,
    pub(super) lanes_allowed: u32,
    pub(super) rate: NonZeroU64,
    pub(super) bucket: Bucket,
    pub(super) part: Part,
    /// Answers and openings that cost others something.
    pub(super) requests: Bucket,
    /// When it is looked at next.
    pub(super) armed: Instant,
    /// Since when it has no connection.
    pub(super) absent_since: Instant,
}

/// A node's connection.
pub(super) struct Connection {
    pub(super) number: u32,
    pub(super) way: Way,
    pub(super) queue: Queue,
    pub(super) backlog: QueueBacklog,
    /// When old packets are looked for, if any wait.
    pub(super) sweep: Option<Instant>,
    pub(super) home: bool,
    pub(super) heard: Instant,
    /// Since when the node is connected, or at home if it is.
    pub(super) since: Instant,
}

impl Node {
    /// The connection of this number, if it is the node's latest.
    pub(super) fn connection_mut(&mut self, id: ClientId) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|connection| connection.number == id.connection)
    }
}
