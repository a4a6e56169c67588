//! The text of the answer to a `get` request.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// The state of the interface, as it is reported.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// The private key, if there is one.
    pub private_key: Option<PrivateKey>,
    /// The UDP port; 0 while none is bound or asked for.
    pub listen_port: u16,
    /// The mark on outgoing datagrams; 0 is none.
    pub fwmark: u32,
    /// The peers.
    pub peers: Vec<Peer>,
}

/// The state of one peer, as it is reported.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who it is.
    pub public_key: PublicKey,
    /// The preshared key, if there is one.
    pub preshared_key: Option<PresharedKey>,
    /// Where it was last heard, or was said to be.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed, since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Bytes of WireGuard messages sent to it.
    pub tx_bytes: u64,
    /// Bytes of authentic WireGuard messages received from it.
    pub rx_bytes: u64,
    /// Seconds between keepalives; 0 is never.
    pub persistent_keepalive: u16,
    /// The networks that are this peer's.
    pub allowed_ips: Vec<IpNet>,
}

impl Device {
    /// The lines of the answer, without `errno` and the closing empty line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        if let Some(key) = &self.private_key {
            writeln!(text, "private_key={}", key.to_hex())?;
        }
        if self.listen_port != 0 {
            writeln!(text, "listen_port={}", self.listen_port)?;
        }
        if self.fwmark != 0 {
            writeln!(text, "fwmark={}", self.fwmark)?;
        }
        self.peers.iter().try_for_each(|peer| peer.write(text))
    }
}

impl Peer {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "public_key={}", self.public_key.to_hex())?;
        if let Some(key) = &self.preshared_key {
            writeln!(text, "preshared_key={}", key.to_hex())?;
        }
        writeln!(text, "protocol_version=1")?;
        if let Some(endpoint) = self.endpoint {
            writeln!(text, "endpoint={endpoint}")?;
        }
        let handshake = self.last_handshake.unwrap_or_default();
        writeln!(text, "last_handshake_time_sec={}", handshake.as_secs())?;
        writeln!(text, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
        writeln!(text, "tx_bytes={}", self.tx_bytes)?;
        writeln!(text, "rx_bytes={}", self.rx_bytes)?;
        writeln!(text, "persistent_keepalive_interval={}", self.persistent_keepalive)?;
        self.allowed_ips.iter().try_for_each(|network| writeln!(text, "allowed_ip={network}"))
    }
}
