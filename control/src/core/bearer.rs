//! Secrets that people hand around: enrolment keys and API tokens. Here they are text, in the
//! database only a hash.

use std::fmt;

use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// What a secret is for; it stands in front, so that a person and a scanner know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lets a node into a network.
    EnrolmentKey,
    /// Lets a program or a person use the API.
    ApiToken,
}

/// The public part: it names the secret in lists and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BearerId(pub [u8; 8]);

/// SHA-256 of the secret part. The secret has 256 random bits, so no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BearerHash(pub [u8; 32]);

/// A secret as it is presented: which it claims to be, and its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// Which.
    pub id: BearerId,
    /// To compare with the one that is kept.
    pub hash: BearerHash,
}

const SECRET_LEN: usize = 32;

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::EnrolmentKey => "nwk_",
            Self::ApiToken => "nwa_",
        }
    }

    /// A new secret of these random bytes: its text, which is shown once, and what is kept.
    #[must_use]
    pub fn mint(
        self,
        id: [u8; 8],
        secret: &Zeroizing<[u8; SECRET_LEN]>,
    ) -> (Zeroizing<String>, Presented) {
        let text = format!("{}{}_{}", self.prefix(), hex::encode(id), hex::encode(**secret));
        (Zeroizing::new(text), Presented { id: BearerId(id), hash: BearerHash::of(&**secret) })
    }

    /// Reads a secret; nothing if it is not of this kind.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Presented> {
        let (id, secret) = text.strip_prefix(self.prefix())?.split_once('_')?;
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        hex::decode_to_slice(secret, bytes.as_mut()).ok()?;
        Some(Presented { id: id.parse().ok()?, hash: BearerHash::of(bytes.as_ref()) })
    }
}

impl BearerHash {
    fn of(secret: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(hash)
    }

    /// As it lies in the database.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for BearerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BearerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for BearerId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 8];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_only_as_its_kind() {
        let (text, kept) = Kind::ApiToken.mint([1; 8], &Zeroizing::new([2; 32]));
        let read = Kind::ApiToken.read(&text).unwrap();
        assert!(read == kept);
        assert!(Kind::EnrolmentKey.read(&text).is_none());
        let (other, _) = Kind::ApiToken.mint([1; 8], &Zeroizing::new([3; 32]));
        assert!(Kind::ApiToken.read(&other).unwrap() != kept);
        assert!(!kept.hash.to_hex().contains(&hex::encode([2; 32])));
        for wrong in ["", "nwa_", "nwa_00_00", &text[..text.len() - 1], &format!("{}0", *text)] {
            assert!(Kind::ApiToken.read(wrong).is_none(), "{wrong}");
        }
    }
}
