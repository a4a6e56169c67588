//! What relays hear: whom no ticket helps.

use serde::{Deserialize, Serialize};

use super::{MAX_FRAME, Malformed, at_most};
use crate::ticket::{NetworkId, VerifyingKey};

/// Who is not to be served, whatever ticket they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revoked {
    /// The network.
    pub network: NetworkId,
    /// The node that proves itself by this key; all of the network's if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<VerifyingKey>,
}

/// A line of `GET /relay/v1/revocations`. One that says nothing is a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationFrame {
    /// Whether what was said before does not count any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
    /// Who is served no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
    /// Who may be served again: by a right that was given back, or the last of their tickets has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<Revoked>,
}

impl RevocationFrame {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        at_most("line", line.len(), MAX_FRAME)?;
        Ok(serde_json::from_slice(line)?)
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        !self.anew && self.revoked.is_empty() && self.restored.is_empty()
    }
}
