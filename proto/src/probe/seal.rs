//! Probes are sealed from one probe key to another: X25519, then `XChaCha20-Poly1305`.

use std::fmt;

use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::aead::Payload;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use ring::digest::{Context, SHA256};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{HEADER_LEN, MAGIC, Probe, ProbeError, sender};
use crate::key::{KEY_LEN, PrivateKey, PublicKey};

/// The length of a nonce.
pub const NONCE_LEN: usize = 24;
/// Random bytes, so many that none comes twice.
pub type Nonce = [u8; NONCE_LEN];

/// What stands before the bytes that a key is made of.
const CONTEXT: &[u8] = b"nearwire probe v1\0";

/// A node's secret probe key. Wiped when dropped; never printed.
pub struct ProbeSecret {
    secret: StaticSecret,
    public: PublicKey,
}

/// What seals and opens probes between this node and one other. Wiped when dropped.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    own: PublicKey,
    theirs: PublicKey,
}

impl ProbeSecret {
    /// The key of these bytes.
    #[must_use]
    pub fn new(key: &PrivateKey) -> Self {
        let secret = StaticSecret::from(*key.as_bytes());
        let public = PublicKey::from(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// What to use with a peer; nothing if its key is none (of low order, or our own).
    #[must_use]
    pub fn with(&self, theirs: PublicKey) -> Option<Sealer> {
        let point = x25519_dalek::PublicKey::from(*theirs.as_bytes());
        let shared = self.secret.diffie_hellman(&point);
        if !shared.was_contributory() || theirs == self.public {
            return None;
        }
        let mut context = Context::new(&SHA256);
        context.update(CONTEXT);
        context.update(shared.as_bytes());
        for key in [self.public.min(theirs), self.public.max(theirs)] {
            context.update(key.as_bytes());
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(context.finish().as_ref());
        let cipher = XChaCha20Poly1305::new((&*key).into());
        Some(Sealer { cipher, own: self.public, theirs })
    }
}

impl Sealer {
    /// The other's probe key.
    #[must_use]
    pub const fn theirs(&self) -> PublicKey {
        self.theirs
    }

    /// A probe as it goes out. `nonce` is random.
    #[must_use]
    pub fn seal(&self, probe: &Probe, nonce: Nonce) -> Vec<u8> {
        self.seal_bytes(&probe.bytes(), nonce)
    }

    /// As a peer that lies could: seals what may be no probe.
    #[must_use]
    pub fn seal_bytes(&self, bytes: &[u8], nonce: Nonce) -> Vec<u8> {
        let head = [&MAGIC[..], self.own.as_bytes()].concat();
        let payload = Payload { msg: bytes, aad: &head };
        // It fails for what is longer than 256 GiB.
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).unwrap_or_default();
        [&head[..], &nonce, &sealed].concat()
    }

    /// A probe of the other's.
    pub fn open(&self, datagram: &[u8]) -> Result<Probe, ProbeError> {
        if sender(datagram)? != self.theirs {
            return Err(ProbeError::Seal);
        }
        let (head, sealed) = datagram.split_at(HEADER_LEN);
        let (aad, nonce) = head.split_at(HEADER_LEN - NONCE_LEN);
        let payload = Payload { msg: sealed, aad };
        let opened = self.cipher.decrypt(XNonce::from_slice(nonce), payload);
        Probe::parse(&opened.map_err(|_| ProbeError::Seal)?).ok_or(ProbeError::Malformed)
    }
}

impl fmt::Debug for ProbeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeSecret(hidden)")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(hidden)")
    }
}
