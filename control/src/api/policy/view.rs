//! What is said of policies.

use policy::naming::{Names, service};
use policy::{Direction, NodeName};
use proto::control::PathKinds;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::{PolicyInfo, PolicyVersion};

/// A version of a policy
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct PolicyView {
    #[serde(flatten)]
    info: InfoView,
    /// The document, as it was written
    pub(in crate::api) text: String,
}

/// About a version of a policy
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct InfoView {
    /// Its number, from one
    pub(in crate::api) version: u64,
    /// Who wrote it
    author: String,
    /// Why
    pub(in crate::api) comment: String,
    /// When, in seconds since 1970
    created: u64,
}

/// Versions of a policy, newest first
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Versions {
    pub(in crate::api) versions: Vec<InfoView>,
    /// Ask with this as `before` for the next page
    pub(in crate::api) next: Option<u64>,
}

/// A policy to put in force
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NewPolicy {
    /// The document (HuJSON)
    #[schema(example = r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:443"] }] }"#)]
    pub(in crate::api) text: String,
    /// Why
    #[serde(default)]
    #[schema(max_length = 255)]
    pub(in crate::api) comment: String,
    /// The version that is to be replaced; if another one is in force, nothing changes
    pub(in crate::api) replaces: Option<u64>,
}

/// A policy to look at
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct TriedPolicy {
    /// The document (HuJSON)
    #[schema(example = r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:443"] }] }"#)]
    pub(in crate::api) text: String,
}

/// A policy that may be put in force
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Accepted {
    /// Rules of the document
    pub(in crate::api) rules: usize,
    /// Tests of the document, which all hold
    pub(in crate::api) tests: usize,
    /// What it allows and what is in force does not, and the other way round
    #[serde(flatten)]
    pub(in crate::api) changes: Differences,
}

/// A version to go back to
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RollBack {
    /// Its number
    pub(in crate::api) version: u64,
}

/// Flows that one policy allows and another does not
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ChangeView {
    /// Whether they are allowed now, or not any more
    gained: bool,
    /// Nodes and hosts by name; else addresses, prefixes or ranges; a node whose name has no letter by
    /// its id
    sources: Vec<String>,
    destinations: Vec<String>,
    /// As `tcp 443`, `tcp 80-90` or `icmp`
    services: Vec<String>,
}

/// What differs between two policies
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Differences {
    /// Flows
    pub(in crate::api) changes: Vec<ChangeView>,
    /// Nodes that relay for others
    pub(in crate::api) relaying: Vec<RelayingView>,
    /// Kinds of path that packets may take
    pub(in crate::api) paths: Vec<PathsView>,
}

/// Nodes for which another may relay by one policy and not by the other
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct RelayingView {
    /// Whether it may now, or not any more
    gained: bool,
    /// The name of the node that relays
    relay: String,
    /// The names of those for which
    clients: Vec<String>,
}

/// Nodes whose packets may take other kinds of path, from each of the one list to each of the other and back
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct PathsView {
    /// Their names
    nodes: Vec<String>,
    others: Vec<String>,
    /// The kinds that were allowed: `direct`, `peer-relay`, `relay`
    old: Vec<String>,
    /// Those that are
    new: Vec<String>,
}

/// Which versions
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct VersionsQuery {
    /// Those before this one
    #[serde(default)]
    pub(in crate::api) before: u64,
    /// The most that is wanted, up to 1000
    #[serde(default = "crate::api::hundred")]
    #[param(minimum = 1, maximum = 1000)]
    pub(in crate::api) limit: u32,
}

/// Which two versions
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DiffQuery {
    /// The old one
    pub(in crate::api) from: u64,
    /// The new one
    pub(in crate::api) to: u64,
}

impl From<PolicyInfo> for InfoView {
    fn from(info: PolicyInfo) -> Self {
        let PolicyInfo { version, author, comment, created } = info;
        Self { version, author, comment, created: created.0 }
    }
}

impl From<PolicyVersion> for PolicyView {
    fn from(kept: PolicyVersion) -> Self {
        Self { info: kept.info.into(), text: kept.text }
    }
}

impl ChangeView {
    pub(in crate::api) fn new(change: &policy::Change, names: &Names) -> Self {
        Self {
            gained: change.direction == Direction::Gained,
            sources: names.ranges(&change.sources),
            destinations: names.ranges(&change.destinations),
            services: change.services.iter().map(service).collect(),
        }
    }
}

fn texts(names: &[NodeName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

impl From<policy::RelayChange> for RelayingView {
    fn from(change: policy::RelayChange) -> Self {
        Self {
            gained: change.direction == Direction::Gained,
            relay: change.relay.to_string(),
            clients: texts(&change.clients),
        }
    }
}

impl From<policy::PathChange> for PathsView {
    fn from(change: policy::PathChange) -> Self {
        let labels = |kinds: PathKinds| kinds.iter().map(|kind| kind.label().to_owned()).collect();
        Self {
            nodes: texts(&change.nodes),
            others: texts(&change.others),
            old: labels(change.old),
            new: labels(change.new),
        }
    }
}
