//! What proves an end of a lane: a secret that it was given, and a cookie that reached its address.

use std::net::SocketAddr;

use ring::hmac;
use zeroize::Zeroizing;

use super::LaneId;
use crate::bytes::address_bytes;

/// The length of a cookie, and of a MAC.
pub const MAC_LEN: usize = 16;

/// What an end proves itself by; never printed by `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct LaneSecret(Zeroizing<[u8; 16]>);

/// The relay's mark on an address: whoever returns it receives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(pub [u8; MAC_LEN]);

/// What an end proves its address and itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The end.
    pub lane: LaneId,
    /// What came to the address.
    pub cookie: Cookie,
    /// Greater than any before it.
    pub nonce: u64,
    /// By the end's secret.
    pub mac: [u8; MAC_LEN],
}

/// The relay's answer to a good proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The end.
    pub lane: LaneId,
    /// The address that was proven.
    pub address: SocketAddr,
    /// Seconds without a datagram after which the address is forgotten.
    pub lifetime: u16,
    /// By the end's secret.
    pub mac: [u8; MAC_LEN],
}

impl From<[u8; 16]> for LaneSecret {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl LaneSecret {
    /// The bytes, to be sent over the control channel.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref())
    }
}

impl std::fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneSecret(hidden)")
    }
}

impl Proof {
    /// Proves that its maker holds `secret` and received `cookie`.
    #[must_use]
    pub fn new(secret: &LaneSecret, lane: LaneId, cookie: Cookie, nonce: u64) -> Self {
        let tag = hmac::sign(&secret.key(), &Self::covered(lane, cookie, nonce));
        Self { lane, cookie, nonce, mac: truncated(&tag) }
    }

    /// Whether the end's secret made it.
    #[must_use]
    pub fn is_by(&self, secret: &LaneSecret) -> bool {
        let covered = Self::covered(self.lane, self.cookie, self.nonce);
        same(&truncated(&hmac::sign(&secret.key(), &covered)), &self.mac)
    }

    fn covered(lane: LaneId, cookie: Cookie, nonce: u64) -> Vec<u8> {
        [&[1][..], &lane.get().to_be_bytes(), &cookie.0, &nonce.to_be_bytes()].concat()
    }
}

impl Bound {
    /// Answers the proof with this nonce.
    #[must_use]
    pub fn new(
        secret: &LaneSecret,
        lane: LaneId,
        nonce: u64,
        address: SocketAddr,
        lifetime: u16,
    ) -> Self {
        let tag = hmac::sign(&secret.key(), &Self::covered(lane, nonce, address, lifetime));
        Self { lane, address, lifetime, mac: truncated(&tag) }
    }

    /// Whether the end's secret made it, in answer to this nonce.
    #[must_use]
    pub fn is_by(&self, secret: &LaneSecret, nonce: u64) -> bool {
        let covered = Self::covered(self.lane, nonce, self.address, self.lifetime);
        same(&truncated(&hmac::sign(&secret.key(), &covered)), &self.mac)
    }

    fn covered(lane: LaneId, nonce: u64, address: SocketAddr, lifetime: u16) -> Vec<u8> {
        let (address, lifetime) = (address_bytes(address), lifetime.to_be_bytes());
        let id = lane.get().to_be_bytes();
        [&[2][..], &id, &nonce.to_be_bytes(), &address, &lifetime].concat()
    }
}

fn truncated(tag: &hmac::Tag) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    mac.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
    mac
}

/// Compares without telling by the time where they differ.
fn same(a: &[u8; MAC_LEN], b: &[u8; MAC_LEN]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
