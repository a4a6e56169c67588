//! Secrets of the device, as they are kept: they never leave it.

use std::fmt;

use anyhow::{Context as _, anyhow};
use proto::key::{PrivateKey, PublicKey};
use proto::ticket::SigningKey;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// Thirty-two random bytes: a WireGuard key, or the seed of a node key. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(PrivateKey);

impl Secret {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        OsRng
            .try_fill_bytes(&mut *bytes)
            .map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
        Ok(Self(PrivateKey::from(*bytes)))
    }

    /// As a WireGuard key.
    pub(crate) const fn private_key(&self) -> &PrivateKey {
        &self.0
    }

    /// The public half of the WireGuard key.
    pub(crate) fn public_key(&self) -> PublicKey {
        engine::public_key(&self.0)
    }

    /// As a node key.
    pub(crate) fn signing_key(&self) -> anyhow::Result<SigningKey> {
        let seed = Zeroizing::new(*self.0.as_bytes());
        SigningKey::from_seed(&seed).context("the node key on disk is none")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(self.0.to_base64()))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        PrivateKey::from_base64(&text).map(Self).map_err(de::Error::custom)
    }
}
