//! Userspace WireGuard in a host of the lab, ours and others', driven by the real `wg` and `ip`.
//!
//! ```no_run
//! use netns_tests::wireguard::{Implementation, Pairing, Tunnel, wired_hosts};
//! use netns_tests::{Lab, ping};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::new("example")?;
//! let [a, b] = wired_hosts(&lab)?;
//! let ours = Tunnel::start(&a, Implementation::Nearwire)?;
//! let theirs = Tunnel::start(&b, Implementation::WireguardGo)?;
//! Pairing { preshared: true, ..Pairing::over_v4() }.connect(&ours, &theirs)?;
//! ping(&a, "10.9.0.2")?;
//! assert!(ours.peer(&theirs)?.latest_handshake > 0);
//! # Ok(())
//! # }
//! ```

mod background;
mod builder;
mod keys;
mod pairing;
mod program;
mod socket;
mod status;
mod tunnel;

pub use background::{Background, Daemon};
pub use builder::TunnelBuilder;
pub use keys::{KeyFile, KeyPair, preshared_key};
pub use pairing::{
    INITIATION_INTERVAL, INNER_A, INNER_B, OUTER_A, OUTER_B, Pairing, impaired_hosts, wired_hosts,
};
pub use program::{Implementation, nearwire_program};
pub use socket::{remove_sockets, unique_interface};
pub use status::{DeviceStatus, PeerStatus};
pub use tunnel::{PeerSettings, Tunnel};
