//! What a node knows of its network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ControlKey, Delta, NodeId, PathKinds, RelayOffer, Relaying, Snapshot};
use crate::key::PublicKey;
use crate::ticket::{NetworkId, SignedTicket, UnixSeconds};

/// A network, as its nodes see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name for ever.
    pub id: NetworkId,
    /// What it is called.
    pub name: String,
    /// Where its nodes' IPv4 addresses come from.
    pub v4: Ipv4Net,
    /// Where their IPv6 addresses come from.
    pub v6: Ipv6Net,
    /// One of so many flows the nodes tell of; none at 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flow_logs: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Speak to its peers.
    Approved,
    /// Wait for an operator.
    Pending,
}

/// The node itself, as the control plane has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// Its name for ever.
    pub id: NodeId,
    /// What it is called.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whose it is; nobody's if it has tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The key that its peers use.
    pub key: PublicKey,
    /// The key that its peers are ready for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// The networks behind it that others may reach through it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNet>,
    /// What it may do.
    pub standing: Standing,
    /// When its node key ends, if it is not renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// When it should have another WireGuard key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<UnixSeconds>,
    /// By which keys it may judge tickets, if it offers to relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_keys: Vec<ControlKey>,
}

/// Another node, which the policy lets this one reach or be reached by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name for ever.
    pub id: NodeId,
    /// What it is called.
    pub name: String,
    /// What packets to it are sealed to.
    pub key: PublicKey,
    /// What they may be sealed to soon: be ready for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The networks behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<IpNet>,
    /// Where it may be reached directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// What probes to it are sealed to; an older agent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disco: Option<PublicKey>,
    /// The region through which it can be reached in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionId>,
    /// What it offers to be as a relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayOffer>,
    /// Whether it speaks with the control plane now.
    #[serde(default)]
    pub online: bool,
}

/// A region's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub u16);

/// Relays that are near each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its number.
    pub id: RegionId,
    /// What it is called.
    pub name: String,
    /// Its relays.
    pub relays: Vec<Relay>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The name in its certificate, and where it is found if it has no addresses here.
    pub host: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its TCP port of TLS.
    pub tls_port: u16,
    /// Its UDP port of QUIC; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic_port: Option<u16>,
    /// SHA-256 of certificates that are good, in hexadecimal; if empty, the usual authorities count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

/// The right to be served by the relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayTicket {
    /// What to show to a relay.
    pub ticket: SignedTicket,
    /// The same for the next key, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<SignedTicket>,
}

/// Where a rule of the filter is written: the policy itself stays with the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLine {
    /// Its number in the filter.
    pub id: u32,
    /// The line of the policy on which it begins.
    pub line: u32,
    /// What it says, on one line and not too long. Left out where it is as before; empty where too many
    /// rules would have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// How names are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The domain under which each node's name stands.
    pub domain: String,
    /// Who else is asked, for which domains; an empty domain is all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forward: BTreeMap<String, Vec<SocketAddr>>,
}

/// A node's knowledge, as snapshots and deltas have made it.
#[derive(Clone, Debug)]
pub struct Netmap {
    /// Which state of the network it is.
    pub revision: u64,
    /// The network.
    pub network: Network,
    /// The node itself.
    pub me: Me,
    /// Its peers.
    pub peers: BTreeMap<NodeId, Peer>,
    /// The relays.
    pub regions: Vec<Region>,
    /// Which peers relay for it, and for which it may.
    pub relaying: BTreeMap<NodeId, Relaying>,
    /// By which kinds of path packets to some peers may go; to all others by any.
    pub paths: BTreeMap<NodeId, PathKinds>,
    /// The right to be served by them; none while the node waits for approval.
    pub ticket: Option<RelayTicket>,
    /// What it has to enforce: a `policy::Filter`.
    pub filter: Box<RawValue>,
    /// Where the rules of the filter are written, by their numbers; nothing of those of which an older
    /// control plane says nothing.
    pub rules: BTreeMap<u32, RuleLine>,
    /// How names are found.
    pub dns: Dns,
}

/// A delta that was made for another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// It says so.
    #[error("the delta is for revision {base}, and revision {have} is here: ask for a snapshot")]
    Revision {
        /// The state that it was made for.
        base: u64,
        /// The state that is here.
        have: u64,
    },
    /// What it changes of the filter is not there.
    #[error("the delta does not fit the filter that is here: ask for a snapshot")]
    Filter,
}

impl From<Snapshot> for Netmap {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot {
            revision,
            network,
            me,
            peers,
            regions,
            relaying,
            paths,
            ticket,
            filter,
            rules,
            dns,
        } = snapshot;
        let peers = peers.into_iter().map(|peer| (peer.id, peer)).collect();
        let relaying = relaying.into_iter().map(|relaying| (relaying.peer, relaying)).collect();
        let paths = paths.into_iter().map(|paths| (paths.peer, paths.kinds)).collect();
        let rules = rules.into_iter().map(|rule| (rule.id, rule)).collect();
        Self { revision, network, me, peers, regions, relaying, paths, ticket, filter, rules, dns }
    }
}

impl Netmap {
    /// By which kinds of path packets to a peer may go.
    #[must_use]
    pub fn path_kinds(&self, peer: &NodeId) -> PathKinds {
        self.paths.get(peer).copied().unwrap_or_default()
    }

    /// Takes over what has changed; if that fails, nothing.
    pub fn apply(&mut self, delta: Delta) -> Result<(), OutOfStep> {
        if delta.base != self.revision {
            return Err(OutOfStep::Revision { base: delta.base, have: self.revision });
        }
        let edited = match delta.filter_edit {
            Some(edit) => Some(edit.apply(&self.filter).map_err(|_| OutOfStep::Filter)?),
            None => None,
        };
        self.revision = delta.revision;
        for gone in &delta.gone {
            self.peers.remove(gone);
            self.relaying.remove(gone);
            self.paths.remove(gone);
        }
        for relaying in delta.relaying {
            if relaying.is_nothing() {
                self.relaying.remove(&relaying.peer);
            } else {
                self.relaying.insert(relaying.peer, relaying);
            }
        }
        for paths in delta.paths {
            if paths.kinds.is_all() {
                self.paths.remove(&paths.peer);
            } else {
                self.paths.insert(paths.peer, paths.kinds);
            }
        }
        self.peers.extend(delta.peers.into_iter().map(|peer| (peer.id, peer)));
        fn take<T>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        take(&mut self.network, delta.network);
        take(&mut self.me, delta.me);
        take(&mut self.regions, delta.regions);
        take(&mut self.filter, delta.filter.or(edited));
        if let Some(rules) = delta.rules {
            let mut before = std::mem::take(&mut self.rules);
            let with_text = |mut rule: RuleLine| {
                let known = || before.remove(&rule.id)?.text;
                rule.text = rule.text.take().or_else(known);
                (rule.id, rule)
            };
            self.rules = rules.into_iter().map(with_text).collect();
        }
        take(&mut self.dns, delta.dns);
        if self.me.standing == Standing::Pending {
            self.ticket = None;
        } else if delta.ticket.is_some() {
            self.ticket = delta.ticket;
        }
        Ok(())
    }
}
