//! Names of the mesh on a host: `<device>.<network>.mesh` is answered here, the rest is asked of those
//! whom the host would ask without us, and the host is told to ask here.
//!
//! [`Names`] is all that an agent needs. [`core`] decides and has no sockets; [`Server`] has the
//! sockets; the host is told over D-Bus, by `resolvconf` or in `/etc/resolv.conf`, and [`restore`] takes
//! that back after a crash.

#![forbid(unsafe_code)]

pub mod core;
mod host;
mod names;
mod server;

use std::net::{Ipv4Addr, SocketAddr};

pub use host::{Interface, Mode, Paths, Wanted, restore};
pub use names::{Names, Settings, Status};
pub use server::{BindError, Counts, Server};

/// Where a host is answered. It has to be an address of the interface of the mesh.
///
/// Link-local: no network's plan of addresses can contain it, no router passes it on, and it leaves
/// port 53 of the node's own addresses to a name server that the node may be. Not of `127.0.0.0/8`:
/// containers reach it too, where they may.
pub const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 53, 53)), 53);
