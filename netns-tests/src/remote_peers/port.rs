//! One UDP socket that sends from, and receives at, each address of a whole network.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use engine::Output;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::host::Host;
use crate::traffic::{udp_socket, unspecified_like};

/// The longest run of datagrams that one receive brings.
const RECEIVE_LIMIT: usize = 65_535;

pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    to: SocketAddr,
    buffer: Vec<u8>,
}

/// Datagrams of one source to one address.
pub(super) struct Arrived {
    pub(super) from: SocketAddr,
    pub(super) at: Ipv4Addr,
    bytes: Vec<u8>,
    stride: usize,
}

impl Arrived {
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride.max(1))
    }
}

impl Port {
    /// Will send to `to`.
    pub(super) fn open(host: &Host, to: SocketAddr) -> Result<Self> {
        let socket = udp_socket(host, unspecified_like(to))?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state, to, buffer: vec![0; RECEIVE_LIMIT] })
    }

    /// Sends and forgets what waits, each datagram by itself.
    pub(super) fn send(&self, from: Ipv4Addr, out: &mut Output) -> Result<()> {
        for batch in out.transmits.iter() {
            for contents in batch.datagrams() {
                let transmit = Transmit {
                    destination: self.to,
                    ecn: None,
                    contents,
                    segment_size: None,
                    src_ip: Some(IpAddr::V4(from)),
                };
                match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                    Ok(()) => {}
                    // A full buffer: a datagram lost, and lost ones are what is counted.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("sending for a remote peer"),
                }
            }
        }
        out.transmits.clear();
        Ok(())
    }

    /// What has arrived, if anything.
    pub(super) fn receive(&mut self) -> Result<Option<Arrived>> {
        let mut meta = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(&mut self.buffer)];
        match self.state.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut meta) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("receiving for a remote peer"),
        }
        let [RecvMeta { addr: from, len, stride, dst_ip, .. }] = meta;
        let Some(IpAddr::V4(at)) = dst_ip else {
            anyhow::bail!("the kernel does not say at which address a datagram arrived");
        };
        Ok(Some(Arrived { from, at, bytes: self.buffer[..len].to_vec(), stride }))
    }
}
