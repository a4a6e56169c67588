//! What a node says of itself and its peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::flows::FlowCounts;
use super::mapping::MappingReport;
use super::paths::PathCounts;
use super::peer_relay::PeerRelayStatus;
use super::relay::RelayHome;
use super::wanted::RefusedRoute;

/// The whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `down`, `connecting`, `pending`, `connected`, `offline` or `revoked`.
    pub(crate) state: String,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) control: String,
    pub(crate) interface: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) network: String,
    pub(crate) domain: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// Its WireGuard key.
    pub(crate) key: String,
    /// When it takes another, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rotates: Option<u64>,
    /// When its node key ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
    /// Where others are told to find it.
    pub(crate) endpoints: Vec<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<RelayHome>,
    /// How it is as a relay, if it is meant to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_relay: Option<PeerRelayStatus>,
    /// Where names are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resolver: Option<SocketAddr>,
    /// The state of the network that is in force.
    pub(crate) revision: u64,
    /// The generation of the policy in the kernel.
    pub(crate) generation: u32,
    pub(crate) routes: Vec<String>,
    pub(crate) refused_routes: Vec<RefusedRoute>,
    /// What could not be done.
    pub(crate) warnings: Vec<String>,
    /// Packets that were dropped, by the reason.
    #[serde(default)]
    pub(crate) drops: BTreeMap<String, u64>,
    /// What became of flows.
    #[serde(default)]
    pub(crate) flows: FlowCounts,
    /// What was done to find ways to peers.
    #[serde(default)]
    pub(crate) paths: PathCounts,
    /// Whether the router lets peers in.
    #[serde(default)]
    pub(crate) mapping: MappingReport,
    pub(crate) peers: Vec<PeerStatus>,
}

impl Status {
    /// Whether the control plane is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.state == "connected"
    }
}

/// A peer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) routes: Vec<String>,
    pub(crate) key: String,
    /// Whether the control plane sees it.
    pub(crate) online: bool,
    /// `direct`, `peer-relay`, `relay` or `none`.
    pub(crate) path: String,
    /// The kinds of path that alone are allowed, and who says so; nothing if all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limited: Option<String>,
    /// Where packets for it go, if directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<SocketAddr>,
    /// The peer that relays for it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_relay: Option<String>,
    /// The region where it is at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<String>,
    /// By what packets leave for its relay, if they do: `lane`, `QUIC` or `TLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) carrier: Option<String>,
    /// Seconds since the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handshake: Option<u64>,
    /// The round trip of the last handshake that was ours, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl PeerStatus {
    /// The way to it, for people to read.
    pub(crate) fn way(&self) -> String {
        let limited = self.limited.as_ref().map(|limited| format!(" ({limited})"));
        self.plain_way() + &limited.unwrap_or_default()
    }

    fn plain_way(&self) -> String {
        if let Some(name) = &self.peer_relay {
            return format!("peer relay {name}");
        }
        match (self.path.as_str(), self.endpoint, &self.relay, &self.carrier) {
            ("direct", Some(endpoint), ..) => format!("direct {endpoint}"),
            ("relay", _, Some(region), Some(carrier)) => format!("relay {region} by {carrier}"),
            ("relay", _, Some(region), None) => format!("relay {region}"),
            (path, ..) => path.to_owned(),
        }
    }
}
