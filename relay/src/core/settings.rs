//! What a relay allows.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::members::Members;
use super::stun::StunPair;

/// Limits and times of a relay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is served of those that have a ticket; none: everybody.
    pub members: Option<Members>,
    /// Clients at one time.
    pub clients: usize,
    /// Clients of one network at one time.
    pub network_clients: usize,
    /// Bytes a second that a client may send, unless its ticket says less.
    pub client_rate: NonZeroU64,
    /// Bytes a second that a network may send, unless its tickets say less; none: no limit.
    pub network_rate: Option<NonZeroU64>,
    /// Lanes at one time.
    pub lanes: usize,
    /// Lanes of one client, unless its ticket says less.
    pub client_lanes: u32,
    /// Where lanes are reached, for clients; empty: no lanes.
    pub lane_addresses: Vec<SocketAddr>,
    /// Where STUN has a second address, at most one of each family.
    pub stun: Vec<StunPair>,
    /// How long an end of a lane stays bound without a keepalive.
    pub lane_lifetime: Duration,
    /// How long a packet may wait for its receiver.
    pub queue_age: Duration,
    /// Bytes that may wait for one receiver.
    pub queue_bytes: usize,
    /// Bytes that may wait for all receivers together.
    pub queue_total: usize,
    /// How long a client may be silent.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            members: None,
            clients: 20_000,
            network_clients: 10_000,
            // 1 Gbit/s: one client does not fill a NIC of 10.
            client_rate: NonZeroU64::new(125_000_000).unwrap_or(NonZeroU64::MIN),
            network_rate: None,
            lanes: 100_000,
            client_lanes: 1_024,
            lane_addresses: Vec::new(),
            stun: Vec::new(),
            lane_lifetime: Duration::from_secs(30),
            queue_age: Duration::from_millis(200),
            queue_bytes: 512 << 10,
            queue_total: 256 << 20,
            idle: Duration::from_secs(45),
        }
    }
}
