//! A node, as the control plane has it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use policy::{NodeName, Prefix, TagName, UserName};
use proto::control::{
    Applied, ControlKey, Me, NodeId, Peer, RegionId, RelayOffer, Report, Standing,
};
use proto::key::PublicKey;
use proto::ticket::{UnixSeconds, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::ipam::{AddressPlan, Host};
use super::key_lifetime::KeyLifetime;

/// How long a node key is good, in seconds.
pub const NODE_KEY_LASTS: u64 = 180 * 24 * 3600;

/// Whose a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// A user's.
    User(String),
    /// Nobody's: it is there for these purposes.
    Tags(Vec<String>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name for ever.
    pub id: NodeId,
    /// What it is called: a label, unique in its network.
    pub name: String,
    /// Its number, from which its addresses follow.
    pub host: Host,
    /// Whose it is.
    pub owner: Owner,
    /// What it may do.
    pub standing: Standing,
    /// Whether it is deleted when it has been gone for a while.
    pub ephemeral: bool,
    /// By which it proves itself.
    pub node_key: VerifyingKey,
    /// By which it did before: there may be tickets for it still.
    #[serde(default)]
    pub last_node_key: Option<VerifyingKey>,
    /// What its peers seal to.
    pub key: PublicKey,
    /// Since when.
    pub key_since: UnixSeconds,
    /// What they have to be ready for.
    pub next_key: Option<PublicKey>,
    /// The networks behind it, as it says.
    pub offered: Vec<IpNet>,
    /// Those of them that an operator approved.
    pub approved: Vec<IpNet>,
    /// Where it may be reached directly.
    pub endpoints: Vec<SocketAddr>,
    /// What probes to it are sealed to; an older agent has none.
    #[serde(default)]
    pub disco: Option<PublicKey>,
    /// What it offers to be as a relay.
    #[serde(default)]
    pub relay: Option<RelayOffer>,
    /// Its relays' region.
    pub home: Option<RegionId>,
    /// Whether it speaks with the control plane.
    pub online: bool,
    /// What it runs on.
    pub os: String,
    /// Which agent it is.
    pub agent: String,
    /// When it came.
    pub created: UnixSeconds,
    /// When its node key ends, if it does.
    pub expires: Option<UnixSeconds>,
    /// Whether the node key has ended, and its peers have been told.
    pub lapsed: bool,
    /// What it has put in force.
    pub applied: Option<Applied>,
}

/// Why a report is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It uses a key that nobody is ready for.
    #[error("`key` is not the key that was named by `next_key` before: name it first")]
    NotTheNextKey,
    /// A key that is no key.
    #[error("`{0}` is all zero: no node has such a key")]
    ZeroKey(&'static str),
    /// A network that cannot be behind a node.
    #[error("the route {route} {reason}")]
    Route {
        /// Which.
        route: IpNet,
        /// Why not.
        reason: &'static str,
    },
}

impl Owner {
    /// What the policy calls it; nothing for what is no user and no tag.
    #[must_use]
    pub fn identity(&self) -> Option<policy::NodeIdentity> {
        Some(match self {
            Self::User(user) => policy::NodeIdentity::User(UserName::parse(user)?),
            Self::Tags(tags) => {
                let tags =
                    tags.iter().map(|tag| TagName::parse(tag)).collect::<Option<Vec<_>>>()?;
                policy::NodeIdentity::Tags(tags)
            }
        })
    }
}

impl Node {
    /// Its addresses by the network's plan.
    #[must_use]
    pub fn addresses(&self, plan: &AddressPlan) -> Vec<IpAddr> {
        plan.addresses(self.host).to_vec()
    }

    /// The networks that others reach through it: offered, and approved.
    pub fn routes(&self) -> impl Iterator<Item = IpNet> {
        self.offered.iter().filter(|route| self.approved.contains(route)).copied()
    }

    /// As the policy sees it; nothing while it waits for approval, or for another node key.
    #[must_use]
    pub fn in_policy(&self, plan: &AddressPlan) -> Option<policy::Node> {
        if !self.is_served() {
            return None;
        }
        let prefix = |net: IpNet| Prefix::new(net.addr(), net.prefix_len());
        Some(policy::Node {
            name: NodeName::parse(&self.id.to_string())?,
            identity: self.owner.identity()?,
            addresses: self.addresses(plan),
            routes: self.routes().filter_map(prefix).collect(),
        })
    }

    /// As its peers see it.
    #[must_use]
    pub fn as_peer(&self, plan: &AddressPlan) -> Peer {
        Peer {
            id: self.id,
            name: self.name.clone(),
            key: self.key,
            next_key: self.next_key,
            addresses: self.addresses(plan),
            routes: self.routes().collect(),
            endpoints: self.endpoints.clone(),
            disco: self.disco,
            home: self.home,
            relay: self.relay.clone(),
            online: self.online,
        }
    }

    /// As it sees itself; `keys` are those that sign tickets.
    #[must_use]
    pub fn as_me(
        &self,
        plan: &AddressPlan,
        lifetime: KeyLifetime,
        keys: impl FnOnce() -> Vec<ControlKey>,
    ) -> Me {
        let (user, tags) = match &self.owner {
            Owner::User(user) => (Some(user.clone()), Vec::new()),
            Owner::Tags(tags) => (None, tags.clone()),
        };
        Me {
            id: self.id,
            name: self.name.clone(),
            addresses: self.addresses(plan),
            user,
            tags,
            key: self.key,
            next_key: self.next_key,
            routes: self.routes().collect(),
            standing: self.standing,
            expires: self.expires,
            rotate: Some(UnixSeconds(self.key_since.0.saturating_add(lifetime.seconds()))),
            control_keys: self.relay.as_ref().map_or_else(Vec::new, |_| keys()),
        }
    }

    /// Whether relays serve it.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.standing == Standing::Approved && !self.lapsed
    }

    /// Whether its node key has ended.
    #[must_use]
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Takes over what the node reports; tells whether anything is new.
    pub fn take(
        &mut self,
        report: &Report,
        plan: &AddressPlan,
        now: UnixSeconds,
    ) -> Result<bool, ReportError> {
        let before = self.clone();
        if let Some(next) = report.next_key {
            not_zero("next_key", &next)?;
            self.next_key = (next != self.key).then_some(next);
        }
        if let Some(key) = report.key.filter(|key| *key != self.key) {
            if self.next_key != Some(key) {
                return Err(ReportError::NotTheNextKey);
            }
            self.key = key;
            self.key_since = now;
            self.next_key = None;
        }
        if let Some(routes) = &report.routes {
            self.offered = right_routes(routes, plan)?;
        }
        if let Some(endpoints) = &report.endpoints {
            self.endpoints.clone_from(endpoints);
        }
        if let Some(disco) = report.disco {
            not_zero("disco", &disco)?;
            self.disco = Some(disco);
        }
        if let Some(offer) = &report.relay {
            self.relay = (offer.port != 0).then(|| offer.clone());
        }
        self.home = report.home.or(self.home);
        self.applied = report.applied.or(self.applied);
        Ok(*self != before)
    }
}

/// Refuses what is no key.
pub fn not_zero(field: &'static str, key: &PublicKey) -> Result<(), ReportError> {
    if key.is_zero() { Err(ReportError::ZeroKey(field)) } else { Ok(()) }
}

/// The routes in order and each once, if they can be behind a node.
pub fn right_routes(routes: &[IpNet], plan: &AddressPlan) -> Result<Vec<IpNet>, ReportError> {
    let mut right: Vec<IpNet> = routes.iter().map(IpNet::trunc).collect();
    right.sort_unstable();
    right.dedup();
    for &route in &right {
        let own = [IpNet::from(plan.v4()), plan.v6().into()];
        let whole = route.prefix_len() == 0;
        let overlaps = |own: &IpNet| own.contains(&route) || route.contains(own);
        let address = route.addr();
        let reason = if !whole && own.iter().any(overlaps) {
            "overlaps the network's own addresses: its nodes would be reached through this one"
        } else if address.is_loopback() || address.is_multicast() {
            "is of no network that can be behind a node"
        } else {
            continue;
        };
        return Err(ReportError::Route { route, reason });
    }
    Ok(right)
}
