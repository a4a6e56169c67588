//! Ways, as the rest names them.

use std::net::SocketAddr;

use proto::control::{PathKind, PathKinds};
use serde::{Deserialize, Serialize};

/// A socket of ours: the WireGuard port, or a spare one that a NAT gave a port that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The WireGuard port.
    pub const MAIN: Self = Self(0);
}

/// A way that is proven by pings: from a socket of ours to an address of the peer's, or to where a node that
/// relays for both is found, which is an address of this host's own network (127/8): no peer is reached
/// there otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// From here.
    pub socket: SocketId,
    /// To here.
    pub to: SocketAddr,
}

impl Route {
    /// Whether it leads by a node that relays.
    #[must_use]
    pub const fn is_relayed(&self) -> bool {
        self.to.ip().is_loopback()
    }

    /// What kind of path it is.
    #[must_use]
    pub const fn kind(&self) -> PathKind {
        if self.is_relayed() { PathKind::PeerRelay } else { PathKind::Direct }
    }
}

impl From<SocketAddr> for Route {
    fn from(to: SocketAddr) -> Self {
        Self { socket: SocketId::MAIN, to }
    }
}

/// How a probe came or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// By the relay.
    Relay,
    /// Directly.
    Direct(Route),
}

/// Where a peer's packets are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// There is no way.
    #[default]
    Nowhere,
    /// To its relay.
    Relay,
    /// Straight to it, or by a node that relays.
    Direct(Route),
}

impl Choice {
    /// Whether it is straight.
    #[must_use]
    pub fn is_direct(self) -> bool {
        self.route().is_some_and(|route| !route.is_relayed())
    }

    /// The way, if it is one that pings prove.
    #[must_use]
    pub const fn route(self) -> Option<Route> {
        match self {
            Self::Direct(route) => Some(route),
            Self::Nowhere | Self::Relay => None,
        }
    }
}

/// What ways a node is set to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Whatever is best.
    #[default]
    Any,
    /// Relays only: nobody learns this node's addresses by its packets.
    Relay,
    /// Direct ways only: without one, packets go nowhere.
    Direct,
}

impl Rule {
    /// The kinds that it leaves.
    #[must_use]
    pub fn kinds(self) -> PathKinds {
        match self {
            Self::Any => PathKinds::ALL,
            Self::Relay => PathKind::Relay.into(),
            Self::Direct => PathKind::Direct.into(),
        }
    }
}
