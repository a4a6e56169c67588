//! Nodes that relay for others of their network.

use serde::{Deserialize, Serialize};

use super::{Malformed, NodeId};
use crate::ticket::{ControlKeyId, VerifyingKey};

/// What a node offers to be as a relay. That it is one, and for whom, the policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayOffer {
    /// Its TCP port of TLS, and UDP port of lanes; 0: it offers nothing.
    pub port: u16,
    /// SHA-256 of its certificate, in hexadecimal, while it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl RelayOffer {
    /// There is none, from now on.
    pub const NONE: Self = Self { port: 0, certificate: None };

    pub(super) fn check(&self) -> Result<(), Malformed> {
        let is_hash =
            |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match &self.certificate {
            Some(text) if !is_hash(text) => Err(Malformed::Certificate),
            _ => Ok(()),
        }
    }
}

/// What the policy makes of a peer and the node in the way of relaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relaying {
    /// Which peer.
    pub peer: NodeId,
    /// It may relay the node's packets.
    #[serde(default, skip_serializing_if = "is_false")]
    pub serves: bool,
    /// The node may relay its packets.
    #[serde(default, skip_serializing_if = "is_false")]
    pub served: bool,
}

impl Relaying {
    /// Whether neither relays for the other.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        !self.serves && !self.served
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// A key by which the control plane signs tickets, for those that have to judge them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlKey {
    /// Its number.
    pub id: u32,
    /// Its public half.
    pub key: VerifyingKey,
}

impl From<ControlKey> for (ControlKeyId, VerifyingKey) {
    fn from(ControlKey { id, key }: ControlKey) -> Self {
        (ControlKeyId(id), key)
    }
}
