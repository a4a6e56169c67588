//! Connections out of a host, made where the host itself is not at hand.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::Host;
use crate::namespace::Namespace;

/// Connects from within a host, as long as the host is there.
#[derive(Clone, Debug)]
pub struct TcpDialler(Arc<Namespace>);

impl TcpDialler {
    /// For connections of this host.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self(host.namespace())
    }

    /// Connects, and waits for it.
    ///
    /// # Errors
    /// When the namespace is gone or nobody takes the connection.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.0.enter(|| TcpStream::connect(to))?
    }
}
