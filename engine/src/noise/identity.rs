//! Our own key pair, as boringtun wants it.

use std::sync::Arc;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn};
use boringtun::x25519;
use proto::key::{PrivateKey, PublicKey};

use super::set_clock;
use crate::time::Timestamp;

/// Our own key pair, and what is derived from it once for all peers.
pub(crate) struct Identity {
    pub(super) secret: x25519::StaticSecret,
    pub(super) public: x25519::PublicKey,
    /// What boringtun wants of each tunnel; it never limits, the [`Gate`] does.
    pub(super) unlimited: Arc<RateLimiter>,
}

impl Identity {
    pub(crate) fn new(key: &PrivateKey, now: Timestamp) -> Self {
        set_clock(now);
        let secret = x25519::StaticSecret::from(*key.as_bytes());
        let public = x25519::PublicKey::from(&secret);
        let unlimited = Arc::new(RateLimiter::new(&public, u64::MAX));
        Self { secret, public, unlimited }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::from(self.public.to_bytes())
    }

    /// The public key of whoever made this initiation, as it claims; not yet proven fresh.
    pub(crate) fn initiator(&self, datagram: &[u8]) -> Option<PublicKey> {
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(datagram) else {
            return None;
        };
        parse_handshake_anon(&self.secret, &self.public, &initiation)
            .ok()
            .map(|half| PublicKey::from(half.peer_static_public))
    }
}

/// The public half of a private key.
#[must_use]
pub fn public_key(private: &PrivateKey) -> PublicKey {
    let secret = x25519::StaticSecret::from(*private.as_bytes());
    PublicKey::from(x25519::PublicKey::from(&secret).to_bytes())
}
