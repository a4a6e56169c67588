//! How an enrolled node shows that it is itself, and keeps being so.

use serde::{Deserialize, Serialize};

use super::{Base64Signature, MAX_REQUEST, MAX_ROUTES, Malformed, NodeId, at_most, plain};
use crate::ticket::{SigningKey, UnixSeconds, VerifyingKey};

const SESSION: &[u8] = b"nearwire session v1\0";
const RENEW: &[u8] = b"nearwire renew v1\0";

/// A node wants something to sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChallengeRequest {
    /// Which node.
    pub node: NodeId,
}

/// Something to sign, good for a minute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChallengeResponse {
    /// Not for the node to look into.
    pub challenge: String,
}

/// A node signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The versions of the protocol that it speaks.
    pub versions: Vec<u16>,
    /// Which node.
    pub node: NodeId,
    /// What it was given.
    pub challenge: String,
    /// By its node key.
    pub signature: Base64Signature,
}

/// A bearer token for a while.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionResponse {
    /// The version of the protocol that is spoken.
    pub version: u16,
    /// For `Authorization: Bearer`.
    pub token: String,
    /// Seconds until it ends.
    pub lasts: u64,
}

/// A node takes another node key before the old one ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The next node key.
    pub node_key: VerifyingKey,
    /// By the old key: that the node wants the new one.
    pub by_old: Base64Signature,
    /// By the new key: that the node holds it.
    pub by_new: Base64Signature,
}

/// Until when the new key is good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewResponse {
    /// When it ends, if it does.
    pub expires: Option<UnixSeconds>,
}

impl std::fmt::Debug for SessionResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, token: _, lasts } = self;
        let mut shown = f.debug_struct("SessionResponse");
        shown.field("version", version).field("lasts", lasts).finish_non_exhaustive()
    }
}

impl ChallengeRequest {
    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        at_most("body", bytes.len(), MAX_REQUEST)?;
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl SessionRequest {
    /// Reads a request; what is too long is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        at_most("body", bytes.len(), MAX_REQUEST)?;
        let request: Self = serde_json::from_slice(bytes)?;
        at_most("versions", request.versions.len(), MAX_ROUTES)?;
        plain("challenge", &request.challenge)?;
        Ok(request)
    }

    /// What a node answers to a challenge.
    #[must_use]
    pub fn answer(node: NodeId, challenge: String, key: &SigningKey) -> Self {
        let signature = Base64Signature(key.sign(&session_message(node, &challenge)));
        Self { versions: super::VERSIONS.to_vec(), node, challenge, signature }
    }

    /// Whether the node key signed.
    #[must_use]
    pub fn is_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(&session_message(self.node, &self.challenge), &self.signature.0)
    }
}

impl RenewRequest {
    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        at_most("body", bytes.len(), MAX_REQUEST)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Signs with both keys.
    #[must_use]
    pub fn new(node: NodeId, old: &SigningKey, new: &SigningKey) -> Self {
        let node_key = new.verifying_key();
        let message = renew_message(node, &node_key);
        let [by_old, by_new] = [old, new].map(|key| Base64Signature(key.sign(&message)));
        Self { node_key, by_old, by_new }
    }

    /// Whether both keys signed.
    #[must_use]
    pub fn is_by(&self, node: NodeId, old: &VerifyingKey) -> bool {
        let message = renew_message(node, &self.node_key);
        old.verifies(&message, &self.by_old.0) && self.node_key.verifies(&message, &self.by_new.0)
    }
}

fn session_message(node: NodeId, challenge: &str) -> Vec<u8> {
    [SESSION, &node.0, challenge.as_bytes()].concat()
}

fn renew_message(node: NodeId, key: &VerifyingKey) -> Vec<u8> {
    [RENEW, &node.0[..], &key.0].concat()
}
