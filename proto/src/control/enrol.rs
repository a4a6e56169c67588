//! How a node gets into a network.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{Base64Signature, MAX_REQUEST, MAX_ROUTES, Malformed, Network, NodeId, at_most, plain};
use crate::key::PublicKey;
use crate::ticket::{SigningKey, UnixSeconds, VerifyingKey};

/// What stands before the bytes that a node signs to enrol.
const CONTEXT: &[u8] = b"nearwire enrol v1\0";

/// An enrolment key, as an operator hands it out. Wiped when dropped; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Zeroizing<String>);

/// A node asks to be let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The versions of the protocol that it speaks.
    pub versions: Vec<u16>,
    /// By what right.
    pub auth_key: AuthKey,
    /// Its identity, for as long as it is the same node.
    pub node_key: VerifyingKey,
    /// What its packets are sealed to.
    pub wireguard_key: PublicKey,
    /// What it would like to be called.
    pub hostname: String,
    /// What it runs on, for people to read.
    #[serde(default)]
    pub os: String,
    /// Which agent it is, for people to read.
    #[serde(default)]
    pub agent: String,
    /// The networks behind it that it offers.
    #[serde(default)]
    pub routes: Vec<IpNet>,
    /// That it holds the secret half of `node_key`.
    pub proof: Base64Signature,
}

/// It is in, or waits for approval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// The version of the protocol that is spoken from now on.
    pub version: u16,
    /// Its name for ever.
    pub node: NodeId,
    /// The network.
    pub network: Network,
    /// What it is called there.
    pub name: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// Whether it may speak already, or an operator has to approve it.
    pub approved: bool,
    /// When its node key ends, if it is not renewed.
    pub expires: Option<UnixSeconds>,
}

impl AuthKey {
    /// A key as it was typed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for AuthKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AuthKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Ok(Self::new(&text))
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(hidden)")
    }
}

impl EnrolRequest {
    /// Reads a request; what is too long is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        at_most("body", bytes.len(), MAX_REQUEST)?;
        let request: Self = serde_json::from_slice(bytes)?;
        at_most("versions", request.versions.len(), MAX_ROUTES)?;
        plain("auth_key", request.auth_key.as_str())?;
        plain("hostname", &request.hostname)?;
        plain("os", &request.os)?;
        plain("agent", &request.agent)?;
        at_most("routes", request.routes.len(), MAX_ROUTES)?;
        Ok(request)
    }

    /// Puts the proof in.
    pub fn sign(&mut self, key: &SigningKey) {
        self.proof = Base64Signature(key.sign(&self.signed()));
    }

    /// Whether who asks holds the node key.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.node_key.verifies(&self.signed(), &self.proof.0)
    }

    fn signed(&self) -> Vec<u8> {
        let auth_key = digest(&SHA256, self.auth_key.as_str().as_bytes());
        let wireguard_key = &self.wireguard_key.as_bytes()[..];
        [CONTEXT, auth_key.as_ref(), &self.node_key.0, wireguard_key].concat()
    }
}
