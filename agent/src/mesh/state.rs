//! What a node keeps between its runs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use paths::Rule;
use proto::control::NodeId;
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// Every address of both families: what an exit node is a way to.
pub(crate) const EVERYTHING: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

/// What the user has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The address of the control plane.
    pub(crate) control: String,
    /// Certificates that are believed instead of the host's.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// What the node would like to be called.
    pub(crate) hostname: String,
    /// Networks behind this node that it offers.
    #[serde(default)]
    pub(crate) advertise_routes: Vec<IpNet>,
    /// Whether it offers to take others' packets to everywhere.
    #[serde(default)]
    pub(crate) advertise_exit_node: bool,
    /// The node through which everything is reached that is not in the mesh.
    #[serde(default)]
    pub(crate) exit_node: Option<String>,
    /// Whether networks behind others are reached through them.
    #[serde(default)]
    pub(crate) accept_routes: bool,
    /// Whether the host has the names of the mesh from this node.
    #[serde(default)]
    pub(crate) names: bool,
    /// The WireGuard port; 0 is any.
    #[serde(default)]
    pub(crate) port: u16,
    /// Whether routers are not asked to map the port.
    #[serde(default)]
    pub(crate) no_port_mapping: bool,
    /// The port at which it relays for its network, if the policy has it do so.
    #[serde(default)]
    pub(crate) peer_relay: Option<u16>,
    /// What ways to peers may be used.
    #[serde(default)]
    pub(crate) path: Rule,
}

impl Settings {
    /// All that it offers.
    pub(crate) fn offers(&self) -> Vec<IpNet> {
        let everything = EVERYTHING.iter().filter(|_| self.advertise_exit_node);
        self.advertise_routes.iter().chain(everything).copied().collect()
    }
}

/// Who the node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its name for ever, once it is enrolled.
    pub(crate) node: Option<NodeId>,
    /// Its node key.
    pub(crate) node_key: Secret,
    /// A node key that it has asked to have, until it knows whether it has.
    #[serde(default)]
    pub(crate) next_node_key: Option<Secret>,
    /// Its WireGuard key.
    pub(crate) key: Secret,
    /// By which it seals probes; made when it is first needed.
    #[serde(default)]
    pub(crate) probe_key: Option<Secret>,
    /// Its next WireGuard key.
    #[serde(default)]
    pub(crate) next_key: Option<NextKey>,
}

/// A WireGuard key that peers are told of before it is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NextKey {
    pub(crate) key: Secret,
    /// When the control plane was first known to have it.
    pub(crate) named: Option<UnixSeconds>,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) identity: Option<Identity>,
    /// Whether it is to be up.
    pub(crate) up: bool,
}

impl Identity {
    /// A node that nobody knows yet.
    pub(crate) fn generate() -> anyhow::Result<Self> {
        Ok(Self {
            node: None,
            node_key: Secret::generate()?,
            next_node_key: None,
            key: Secret::generate()?,
            probe_key: Some(Secret::generate()?),
            next_key: None,
        })
    }
}
