//! The cross-platform userspace configuration protocol of WireGuard: what `wg` and `wg-quick`
//! speak over `/var/run/wireguard/IFNAME.sock`.
//!
//! A request is `get=1` or `set=1`, then lines of `key=value`, then an empty line; the answer is
//! lines of `key=value`, `errno=N`, and an empty line. Keys are 64 hexadecimal digits. The
//! protocol is described at <https://www.wireguard.com/xplatform/>.
//!
//! A `set` is read whole before anything is changed: a request with an error changes nothing.

mod get;
mod set;

use std::net::SocketAddr;

use ipnet::IpNet;

pub use get::{Device, Peer};

use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// The longest request that is read, in bytes: room for some 100,000 peers.
pub const REQUEST_LIMIT: usize = 32 << 20;

/// One request, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Report the configuration and the counters.
    Get,
    /// Change the configuration.
    Set(Set),
}

/// What a `set` asks for. Absent means "leave as it is".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The new private key, or `Some(None)` to remove it.
    pub private_key: Option<Option<PrivateKey>>,
    /// The UDP port to listen on; 0 lets the kernel choose.
    pub listen_port: Option<u16>,
    /// The mark on outgoing datagrams; 0 is none.
    pub fwmark: Option<u32>,
    /// Remove every peer first.
    pub replace_peers: bool,
    /// Changes to peers, in the order in which they were given.
    pub peers: Vec<PeerChange>,
}

/// What a `set` asks for one peer. Absent means "leave as it is".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// Whom this is about.
    pub public_key: PublicKey,
    /// Remove the peer.
    pub remove: bool,
    /// Do nothing if there is no such peer yet.
    pub update_only: bool,
    /// The new preshared key, or `Some(None)` to remove it.
    pub preshared_key: Option<Option<PresharedKey>>,
    /// Where the peer is to be reached.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 is never.
    pub persistent_keepalive: Option<u16>,
    /// Remove all allowed IPs before the changes below.
    pub replace_allowed_ips: bool,
    /// Allowed IPs to add or to remove, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// One change to a peer's allowed IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// Give the network to this peer, taking it from whoever has it.
    Add(IpNet),
    /// Take the network from this peer, if it has it.
    Remove(IpNet),
}

impl PeerChange {
    /// A change of nothing yet.
    #[must_use]
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// A request that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RequestError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it. Never holds a secret key.
    pub reason: String,
}

impl Request {
    /// Reads a request without its closing empty line.
    ///
    /// `zone` gives the interface index for the name after `%` in a link-local endpoint.
    pub fn parse(text: &str, zone: &dyn Fn(&str) -> Option<u32>) -> Result<Self, RequestError> {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        match first {
            "get=1" if rest.trim_end_matches('\n').is_empty() => Ok(Self::Get),
            "get=1" => Err(RequestError { line: 2, reason: "get takes no further lines".into() }),
            "set=1" => set::parse(rest, zone).map(Self::Set),
            _ => Err(RequestError { line: 1, reason: "expected get=1 or set=1".into() }),
        }
    }
}
