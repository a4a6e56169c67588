//! One line of the stream.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Dns, FilterEdit, MAX_FRAME, Malformed, Me, Network, NodeId, Peer, PeerPaths, Region,
    RelayTicket, Relaying, RuleLine, at_most,
};

/// A line. More than one part may be there, and none is a sign of life.
///
/// `P`, `F` and `E` are peers, filters and edits of filters: who sends has them as text already.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frame<P = Peer, F = Box<RawValue>, E = FilterEdit> {
    /// Everything.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot<P, F>>,
    /// What has changed.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta<P, F, E>>,
    /// The last line.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// All that a node has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot<P = Peer, F = Box<RawValue>> {
    /// Which state of the network this is.
    pub revision: u64,
    /// The network.
    pub network: Network,
    /// The node itself.
    pub me: Me,
    /// Its peers.
    pub peers: Vec<P>,
    /// The relays.
    pub regions: Vec<Region>,
    /// Which peers relay for it, and for which it may.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub relaying: Vec<Relaying>,
    /// The peers with which the policy allows some kinds of path only.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PeerPaths>,
    /// The right to be served by them.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub ticket: Option<RelayTicket>,
    /// What it has to enforce: a `policy::Filter`.
    pub filter: F,
    /// Where the rules of that are written.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleLine>,
    /// How names are found.
    pub dns: Dns,
}

/// What has changed from one state to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delta<P = Peer, F = Box<RawValue>, E = FilterEdit> {
    /// The state from which it has.
    pub base: u64,
    /// The state that it leads to.
    pub revision: u64,
    /// Peers that are new, or others than before.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<P>,
    /// Peers that are none any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<NodeId>,
    /// The network, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The node itself, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub me: Option<Me>,
    /// The relays, if they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// Peers with which it is otherwise in the way of relaying.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub relaying: Vec<Relaying>,
    /// Peers with which the policy allows other kinds of path than before.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PeerPaths>,
    /// The ticket, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<RelayTicket>,
    /// What it has to enforce, if it is something else.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub filter: Option<F>,
    /// The same, by what it was before.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub filter_edit: Option<E>,
    /// Where all the rules of that are written, if a rule is new or one stands elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleLine>>,
    /// How names are found, if otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// The stream ends on purpose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub reason: EndReason,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The node is not in the network any more.
    Revoked,
    /// The node key has ended.
    Expired,
    /// The session has ended: get another.
    Session,
    /// The node has another stream, or this one was too slow.
    Replaced,
    /// This instance ends: come again, to another if there is one.
    Draining,
    /// A reason that this code does not know: come again later.
    #[serde(other)]
    Other,
}

impl<P, F, E> Frame<P, F, E> {
    /// A sign of life.
    pub const ALIVE: Self = Self { snapshot: None, delta: None, end: None };

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.snapshot.is_none() && self.delta.is_none() && self.end.is_none()
    }

    /// The last line.
    #[must_use]
    pub const fn end(reason: EndReason) -> Self {
        Self { snapshot: None, delta: None, end: Some(End { reason }) }
    }
}

impl Frame {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        at_most("line", line.len(), MAX_FRAME)?;
        Ok(serde_json::from_slice(line)?)
    }
}

fn none<T>() -> Option<T> {
    None
}
