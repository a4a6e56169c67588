//! One peer: who it is, where it is, and what waits for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use proto::key::{PresharedKey, PublicKey};

use crate::messages::Messages;
use crate::noise::Tunnel;
use crate::output::Endpoint;
use crate::time::Timestamp;

/// Packets that wait for a peer's handshake (Linux: `MAX_STAGED_PACKETS`).
pub(crate) const QUEUE_LIMIT: usize = 128;

pub(crate) struct Peer {
    pub(crate) public_key: PublicKey,
    /// Keys that mean this peer too, while its key changes: the next, and the one before.
    pub(crate) next_key: Option<PublicKey>,
    pub(crate) former_key: Option<PublicKey>,
    pub(crate) preshared_key: Option<PresharedKey>,
    pub(crate) endpoint: Option<Endpoint>,
    /// Where a relay takes packets for it. What comes from there does not move its endpoint.
    pub(crate) relay: Option<SocketAddr>,
    /// The endpoint is another's choice: nothing that comes moves it.
    pub(crate) held: bool,
    /// How long a packet may be for the way to it.
    pub(crate) fits: usize,
    /// Seconds; 0 is never.
    pub(crate) persistent_keepalive: u16,
    /// None while this node has no private key, and where another shard owns the peer. It is large:
    /// boxed, so that those who have none are small.
    pub(crate) tunnel: Option<Box<Tunnel>>,
    pub(crate) queue: VecDeque<Box<[u8]>>,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) messages: Messages,
    pub(crate) last_handshake: Option<Timestamp>,
    /// How long the answer to our last initiation that had one was under way.
    pub(crate) handshake_time: Option<Duration>,
    /// When a message that is authentic last came, and whether by the relay.
    pub(crate) last_heard: Option<(Timestamp, bool)>,
    /// The last sealed or authentic message in either direction.
    pub(crate) last_traffic: Timestamp,
    /// Packets of the host for which there was no way, and when the last one was.
    pub(crate) stuck: (u64, Timestamp),
    /// When a packet that arrived and was followed by nothing of ours is to be acknowledged.
    /// (boringtun's own timer overlooks packets that arrive in the step in which it last sent.)
    pub(crate) acknowledge_at: Option<Timestamp>,
    /// A keepalive is to be sent as soon as can be.
    pub(crate) greet: bool,
    /// A session is to be asked for as soon as can be.
    pub(crate) ask: bool,
    /// When this peer's timers are due: the authority over entries of the engine's heap.
    pub(crate) wake: Option<Wake>,
}

/// When a peer wants to be looked at, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wake {
    pub(crate) at: Timestamp,
    pub(crate) reason: &'static str,
}

impl Peer {
    pub(crate) fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            next_key: None,
            former_key: None,
            preshared_key: None,
            endpoint: None,
            relay: None,
            held: false,
            fits: usize::MAX,
            persistent_keepalive: 0,
            tunnel: None,
            queue: VecDeque::new(),
            tx_bytes: 0,
            rx_bytes: 0,
            messages: Messages::default(),
            last_handshake: None,
            handshake_time: None,
            last_heard: None,
            last_traffic: Timestamp::default(),
            stuck: (0, Timestamp::default()),
            acknowledge_at: None,
            greet: false,
            ask: false,
            wake: None,
        }
    }

    /// Lets a packet wait for the handshake; false if the oldest one had to go for it.
    pub(crate) fn enqueue(&mut self, packet: &[u8]) -> bool {
        let fits = self.queue.len() < QUEUE_LIMIT;
        if !fits {
            self.queue.pop_front();
        }
        self.queue.push_back(packet.into());
        fits
    }
}
