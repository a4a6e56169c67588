//! WireGuard keys: 32 bytes on Curve25519, or a preshared symmetric key of the same size.
//!
//! Text forms: base64 with padding (44 characters) where people read and write keys, lower-case
//! hexadecimal (64 characters) in the userspace configuration protocol.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// The length of every WireGuard key, in bytes.
pub const KEY_LEN: usize = 32;

/// A text that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The hexadecimal form has another length or other characters.
    #[error("a key is 64 hexadecimal digits")]
    Hex,
    /// The base64 form has another length or other characters.
    #[error("a key is 44 characters of base64")]
    Base64,
}

/// A peer's identity: the public half of its Curve25519 key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

/// This node's Curve25519 secret. Wiped when dropped; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

/// A symmetric key mixed into the handshake. Wiped when dropped; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

macro_rules! key_text {
    ($key:ident) => {
        impl $key {
            /// Reads 64 hexadecimal digits, of either case.
            pub fn from_hex(text: &str) -> Result<Self, KeyError> {
                let mut bytes = Zeroizing::new([0; KEY_LEN]);
                hex::decode_to_slice(text, bytes.as_mut()).map_err(|_| KeyError::Hex)?;
                Ok(Self::from(*bytes))
            }

            /// Reads 44 characters of base64.
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                // One byte more than a key: the decoder wants room for the padding's group.
                let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
                let len = BASE64_STANDARD
                    .decode_slice(text, bytes.as_mut())
                    .map_err(|_| KeyError::Base64)?;
                match bytes[..len].first_chunk::<KEY_LEN>() {
                    Some(key) if len == KEY_LEN => Ok(Self::from(*key)),
                    _ => Err(KeyError::Base64),
                }
            }

            /// The bytes of the key.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// 64 lower-case hexadecimal digits.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.as_bytes())
            }

            /// 44 characters of base64.
            #[must_use]
            pub fn to_base64(&self) -> String {
                BASE64_STANDARD.encode(self.as_bytes())
            }

            /// Whether all bytes are zero: how the configuration protocol says "none".
            #[must_use]
            pub fn is_zero(&self) -> bool {
                self.as_bytes().iter().all(|&byte| byte == 0)
            }
        }
    };
}

key_text!(PublicKey);
key_text!(PrivateKey);
key_text!(PresharedKey);

impl From<[u8; KEY_LEN]> for PublicKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; KEY_LEN]> for PrivateKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<[u8; KEY_LEN]> for PresharedKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_forms_round_trip(bytes: [u8; KEY_LEN]) {
            let key = PublicKey::from(bytes);
            prop_assert_eq!(PublicKey::from_hex(&key.to_hex()), Ok(key));
            prop_assert_eq!(PublicKey::from_base64(&key.to_base64()), Ok(key));
        }

        #[test]
        fn other_texts_are_refused(text in ".{0,70}") {
            let bytes = hex::decode(&text).ok().filter(|bytes| bytes.len() == KEY_LEN);
            prop_assert_eq!(PublicKey::from_hex(&text).is_ok(), bytes.is_some());
            if text.len() != 44 {
                prop_assert!(PublicKey::from_base64(&text).is_err());
            }
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let private = PrivateKey::from([0xab; KEY_LEN]);
        let preshared = PresharedKey::from([0xcd; KEY_LEN]);
        let printed = format!("{private:?} {preshared:?}");
        assert_eq!(printed, "PrivateKey(hidden) PresharedKey(hidden)");
    }
}
