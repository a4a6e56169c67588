//! By which kinds of path the packets of two nodes may go.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NodeId;

/// A kind of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathKind {
    /// Straight from one node to the other.
    Direct,
    /// By a node of the network that relays.
    PeerRelay,
    /// By a relay of a region.
    Relay,
}

impl PathKind {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Direct, Self::PeerRelay, Self::Relay];

    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::PeerRelay => "peer-relay",
            Self::Relay => "relay",
        }
    }

    /// The kind that is written so.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == text)
    }
}

/// Kinds of path; as JSON a list of their names, of which those that nobody knows yet are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathKinds(u8);

impl PathKinds {
    /// Every kind.
    pub const ALL: Self =
        Self::NONE.with(PathKind::Direct).with(PathKind::PeerRelay).with(PathKind::Relay);
    /// No kind.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: PathKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether this kind is one of them.
    #[must_use]
    pub const fn has(self, kind: PathKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Whether it is every kind.
    #[must_use]
    pub const fn is_all(self) -> bool {
        self.0 == Self::ALL.0
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// They, the best first.
    pub fn iter(self) -> impl Iterator<Item = PathKind> {
        PathKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl Default for PathKinds {
    fn default() -> Self {
        Self::ALL
    }
}

impl From<PathKind> for PathKinds {
    fn from(kind: PathKind) -> Self {
        Self::NONE.with(kind)
    }
}

impl FromIterator<PathKind> for PathKinds {
    fn from_iter<I: IntoIterator<Item = PathKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for PathKinds {
    /// As `direct or relay`; `none` if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(PathKind::label).collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join(" or ")) }
    }
}

impl Serialize for PathKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(PathKind::label))
    }
}

impl<'de> Deserialize<'de> for PathKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(names.iter().filter_map(|name| PathKind::named(name)).collect())
    }
}

/// By which paths alone the policy lets the packets of the node and a peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPaths {
    /// Which peer.
    pub peer: NodeId,
    /// The kinds that are allowed. In a delta, all: as if nothing had been said.
    #[serde(rename = "use")]
    pub kinds: PathKinds,
}
