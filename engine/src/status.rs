//! What can be asked of an engine.

use std::time::Duration;

use dataplane_common::Slot;
use ipnet::IpNet;
use proto::key::{PresharedKey, PrivateKey, PublicKey};
use proto::probe::Received;

use crate::node::Engine;
use crate::output::Endpoint;
use crate::peer::Peer;
use crate::time::Timestamp;

/// The state of one peer.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its number on this node.
    pub slot: Slot,
    /// Who it is.
    pub public_key: PublicKey,
    /// The preshared key, if there is one.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is.
    pub endpoint: Option<Endpoint>,
    /// When the last handshake was completed.
    pub last_handshake: Option<Timestamp>,
    /// How long the answer to our last initiation that had one was under way.
    pub handshake_time: Option<Duration>,
    /// When it was last heard, and whether by its relay.
    pub last_heard: Option<(Timestamp, bool)>,
    /// Bytes of WireGuard messages sent to it.
    pub tx_bytes: u64,
    /// Bytes of authentic WireGuard messages received from it.
    pub rx_bytes: u64,
    /// Seconds between keepalives; 0 is never.
    pub persistent_keepalive: u16,
    /// The networks that are this peer's.
    pub allowed_ips: Vec<IpNet>,
}

/// What went to and came from a peer so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Whose.
    pub public_key: PublicKey,
    /// Bytes of WireGuard messages sent to it.
    pub tx_bytes: u64,
    /// Bytes of authentic WireGuard messages received from it.
    pub rx_bytes: u64,
    /// Messages that came from it, and that were to come.
    pub messages: Received,
    /// Packets of the host for it for which there was no way.
    pub stuck: u64,
}

impl Engine {
    /// What peers that had traffic since then have had so far.
    #[must_use]
    pub fn traffic(&self, since: Timestamp) -> Vec<Traffic> {
        let last = |peer: &Peer| peer.last_traffic.max(peer.stuck.1);
        let recent = |peer: &&Peer| last(peer) >= since && peer.tunnel.is_some();
        let peers = self.peers.iter().flatten().filter(recent);
        let traffic = peers.map(|peer| Traffic {
            public_key: peer.public_key,
            tx_bytes: peer.tx_bytes,
            rx_bytes: peer.rx_bytes,
            messages: peer.messages.so_far(),
            stuck: peer.stuck.0,
        });
        traffic.collect()
    }

    /// The private key, if there is one.
    #[must_use]
    pub fn private_key(&self) -> Option<&PrivateKey> {
        self.key.as_ref().map(|key| &key.private)
    }

    /// Every network with its peer: the whole table, in every shard.
    pub fn networks(&self) -> impl Iterator<Item = (IpNet, Slot)> + '_ {
        self.allowed_ips.iter()
    }

    /// The peers that this engine owns, in the order of slots.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let mut networks = vec![Vec::new(); self.peers.len()];
        for (network, id) in self.allowed_ips.iter() {
            networks[id.0 as usize].push(network);
        }
        let status = |(slot, (peer, allowed_ips))| {
            let peer: &Peer = Option::as_ref(peer)?;
            (self.place.other_owner(Slot(slot)).is_none()).then(|| PeerStatus {
                slot: Slot(slot),
                public_key: peer.public_key,
                preshared_key: peer.preshared_key.clone(),
                endpoint: peer.endpoint,
                last_handshake: peer.last_handshake,
                handshake_time: peer.handshake_time,
                last_heard: peer.last_heard,
                tx_bytes: peer.tx_bytes,
                rx_bytes: peer.rx_bytes,
                persistent_keepalive: peer.persistent_keepalive,
                allowed_ips,
            })
        };
        (0..).zip(self.peers.iter().zip(networks)).filter_map(status).collect()
    }
}
