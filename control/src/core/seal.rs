//! How secrets lie in the database: AES-256-GCM under a key that is not in it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// The length of a seal key, in bytes.
pub const SEAL_KEY_LEN: usize = 32;

/// The key under which secrets are sealed. It does not print.
pub struct SealKey(LessSafeKey);

/// Twelve random bytes, used once.
pub struct SealNonce(pub [u8; NONCE_LEN]);

/// Why a secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is no key.
    #[error("a seal key is {SEAL_KEY_LEN} bytes as base64 (make one: `openssl rand -base64 32`)")]
    Key,
    /// It is larger than any secret.
    #[error("a secret is too large to be sealed")]
    TooLarge,
    /// Another key sealed it, or for another name, or it was changed.
    #[error("{0:?} was not sealed with this key: give the key that the database was made with")]
    Wrong(String),
}

impl SealKey {
    /// The key of these bytes.
    pub fn new(bytes: &Zeroizing<[u8; SEAL_KEY_LEN]>) -> Result<Self, SealError> {
        UnboundKey::new(&AES_256_GCM, bytes.as_ref())
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| SealError::Key)
    }

    /// Reads base64.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes =
            Zeroizing::new(BASE64_STANDARD.decode(text.trim()).map_err(|_| SealError::Key)?);
        let bytes: [u8; SEAL_KEY_LEN] = bytes.as_slice().try_into().map_err(|_| SealError::Key)?;
        Self::new(&Zeroizing::new(bytes))
    }

    /// Seals a secret under a name, which it will open under only.
    pub fn seal(&self, name: &str, secret: &[u8], nonce: SealNonce) -> Result<Vec<u8>, SealError> {
        let mut body = secret.to_vec();
        let mut sealed = nonce.0.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        self.0
            .seal_in_place_append_tag(nonce, Aad::from(name), &mut body)
            .map_err(|_| SealError::TooLarge)?;
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens a secret.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open_named(name, sealed).ok_or_else(|| SealError::Wrong(name.to_owned()))
    }

    fn open_named(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(name), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SealKey {
        SealKey::new(&Zeroizing::new([seed; SEAL_KEY_LEN])).unwrap()
    }

    #[test]
    fn a_secret_opens_with_its_key_under_its_name_only() {
        let sealed = key(1).seal("ticket", b"secret", SealNonce([9; 12])).unwrap();
        assert_eq!(key(1).open("ticket", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(
            key(2).open("ticket", &sealed).unwrap_err(),
            SealError::Wrong("ticket".to_owned())
        );
        assert!(key(1).open("session", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(1).open("ticket", &changed).is_err(), "byte {at}");
        }
        assert!(key(1).open("ticket", b"short").is_err());
    }

    #[test]
    fn a_key_is_thirty_two_bytes() {
        assert!(SealKey::parse(&BASE64_STANDARD.encode([7; 32])).is_ok());
        for wrong in ["", "AAAA", "not base64", &BASE64_STANDARD.encode([7; 33])] {
            assert_eq!(SealKey::parse(wrong).err(), Some(SealError::Key), "{wrong}");
        }
    }
}
