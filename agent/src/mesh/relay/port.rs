//! Where the engine finds the relay: each peer has an address of this host's own network 127/8, at
//! one port, so that a WireGuard socket sends to a relay as it sends to anybody.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proto::relay::Batch;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The first address: those before it are for others.
const FIRST: u32 = 0x7f01_0000;
/// Numbers that have an address.
const MOST: u32 = 0x00fe_0000;
const RECEIVE_LIMIT: usize = 65_535;

/// A peer, as this port names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerNumber(pub(crate) u32);

impl PeerNumber {
    pub(super) fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.0 % MOST)
    }

    fn from_address(address: IpAddr) -> Option<Self> {
        let IpAddr::V4(v4) = address.to_canonical() else { return None };
        let number = u32::from(v4).checked_sub(FIRST)?;
        (number < MOST).then_some(Self(number))
    }
}

/// The socket.
pub(super) struct RelayPort {
    socket: UdpSocket,
    state: UdpSocketState,
    buffer: Box<[u8]>,
}

impl RelayPort {
    pub(super) fn open() -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, buffer: vec![0; RECEIVE_LIMIT].into() })
    }

    pub(super) fn number(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for packets of the engine, whose port this is; others are not heard.
    pub(super) async fn receive(&mut self, engine: u16) -> io::Result<(PeerNumber, Packets<'_>)> {
        loop {
            let mut meta = [RecvMeta::default()];
            let (state, socket, buffer) = (&self.state, &self.socket, &mut self.buffer);
            let received = socket.async_io(Interest::READABLE, || {
                let mut slices = [IoSliceMut::new(buffer)];
                state.recv(socket.into(), &mut slices, &mut meta)
            });
            received.await?;
            let [meta] = meta;
            let ours = meta.addr.ip().is_loopback() && meta.addr.port() == engine;
            let number = meta.dst_ip.and_then(PeerNumber::from_address);
            if let (true, Some(number)) = (ours && meta.len > 0, number) {
                let packets = Packets { bytes: &self.buffer[..meta.len], stride: meta.stride };
                return Ok((number, packets));
            }
        }
    }

    /// Hands packets of a peer to the engine. What it has no room for is lost, as on any link.
    pub(super) fn deliver(&self, from: PeerNumber, batch: Batch<'_>, engine: u16) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, engine));
        let source = Some(IpAddr::V4(from.address()));
        let mut transmit = Transmit {
            destination: to,
            ecn: None,
            contents: batch.bytes(),
            segment_size: Some(batch.segment()),
            src_ip: source,
        };
        let many = batch.bytes().len() > batch.segment();
        if !many || self.state.max_gso_segments() > 1 {
            let _ = self.send(&transmit);
            return;
        }
        transmit.segment_size = None;
        for datagram in batch.datagrams() {
            transmit.contents = datagram;
            let _ = self.send(&transmit);
        }
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket
            .try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), transmit))
    }
}

/// Datagrams that came together.
pub(super) struct Packets<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl Packets<'_> {
    pub(super) fn batch(&self) -> Option<Batch<'_>> {
        Batch::new(self.bytes, self.stride.clamp(1, self.bytes.len().max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_found_by_its_address(number in 0..MOST) {
            let address = PeerNumber(number).address();
            prop_assert!(address.is_loopback());
            prop_assert_eq!(PeerNumber::from_address(address.into()), Some(PeerNumber(number)));
        }
    }

    #[test]
    fn other_addresses_are_no_peers() {
        for other in ["127.0.0.1", "127.255.0.1", "192.0.2.1", "::1"] {
            assert_eq!(PeerNumber::from_address(other.parse().unwrap()), None, "{other}");
        }
    }
}
