//! A nearwire node without its sockets: WireGuard peers, their sessions, allowed IPs and timers.
//!
//! Sans-IO: [`Engine`] is handed packets from the host ([`Engine::handle_packet`]), datagrams from
//! the network ([`Engine::handle_datagram`]) and the time ([`Engine::handle_timeout`], due at
//! [`Engine::poll_timeout`]). It leaves what is to be done in an [`Output`]: datagrams for the
//! network, grouped so that each group can leave by one segmented send, packets for the host, and
//! what belongs to other shards of the node.
//! It never reads a clock, opens a socket or takes a lock, so two engines can talk in memory.
//!
//! The protocol is stock WireGuard (<https://www.wireguard.com/papers/wireguard.pdf>), its noise
//! layer boringtun's, which is named in the module `noise` alone.
#![forbid(unsafe_code)]

mod allowed_ips;
mod backlog;
mod configure;
mod drops;
mod ecn;
mod handover;
mod handshakes;
mod inbound;
mod ip;
mod keys;
mod messages;
mod node;
mod noise;
pub mod offload;
mod outbound;
mod output;
mod packets;
#[cfg(feature = "pair")]
pub mod pair;
mod paths;
mod peer;
mod reshard;
mod status;
mod time;
mod timeouts;
mod too_big;

pub use allowed_ips::AllowedIps;
pub use configure::ConfigureError;
pub use drops::Drops;
pub use ecn::Ecn;
pub use handover::Handover;
pub use ip::{PADDING, inner_addresses};
pub use keys::KeyChange;
pub use node::{Engine, Place, Settings};
pub use noise::public_key;
pub use offload::checksum::checksum;
pub use output::{Batch, Endpoint, Output, Transmits};
pub use packets::{HostOffload, Packets};
pub use paths::PathChange;
pub use status::{PeerStatus, Traffic};
pub use time::Timestamp;
