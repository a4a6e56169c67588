//! A peer that knows the keys but not the rules: it seals anything, and sends what it likes.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use netns_tests::Host;
use netns_tests::wireguard::{KeyPair, Tunnel};

/// A WireGuard peer on a socket of its own, without an interface.
pub(crate) struct Hostile {
    tunn: Tunn,
    socket: UdpSocket,
    target: SocketAddr,
}

impl Hostile {
    /// A peer in `host` with these keys, which knows where the target is.
    pub(crate) fn new(
        host: &Host,
        keys: &KeyPair,
        target: &Tunnel<'_>,
        at: SocketAddr,
    ) -> Result<Self> {
        let private = proto::key::PrivateKey::from_base64(&keys.private)?;
        let public = proto::key::PublicKey::from_base64(target.public_key())?;
        let tunn = Tunn::new(
            StaticSecret::from(*private.as_bytes()),
            PublicKey::from(*public.as_bytes()),
            None,
            None,
            7,
            None,
        );
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let socket = host.enter(|| UdpSocket::bind(any))??;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self { tunn, socket, target: at })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<()> {
        self.socket.send_to(datagram, self.target).context("cannot send")?;
        Ok(())
    }

    /// What the target answers next.
    pub(crate) fn receive(&self) -> Result<Vec<u8>> {
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).context("no answer")?;
        Ok(buffer[..len].to_vec())
    }

    /// The first cookie among what the target has answered, if there is one.
    pub(crate) fn receive_cookie(&self) -> Option<Vec<u8>> {
        std::iter::from_fn(|| self.receive().ok()).find(|answer| answer.len() == 64)
    }

    /// A fresh initiation; it carries a cookie if one was taken.
    pub(crate) fn initiation(&mut self) -> Result<Vec<u8>> {
        let mut buffer = [0; 256];
        match self.tunn.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(message) => Ok(message.to_vec()),
            other => bail!("no initiation: {other:?}"),
        }
    }

    /// Takes a message of the target; what it wants sent in answer comes back.
    pub(crate) fn take(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; 2048];
        match self.tunn.decapsulate(None, message, &mut buffer) {
            TunnResult::WriteToNetwork(answer) => Ok(Some(answer.to_vec())),
            TunnResult::Done => Ok(None),
            other => bail!("refused: {other:?}"),
        }
    }

    /// Opens a session with the target.
    pub(crate) fn connect(&mut self) -> Result<()> {
        let initiation = self.initiation()?;
        self.send(&initiation)?;
        let response = self.receive()?;
        let keepalive = self.take(&response)?.context("no keepalive")?;
        self.send(&keepalive)
    }

    /// Any bytes, sealed on the session.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = [0; 2048];
        match self.tunn.encapsulate(packet, &mut buffer) {
            TunnResult::WriteToNetwork(message) => Ok(message.to_vec()),
            other => bail!("no session: {other:?}"),
        }
    }
}
