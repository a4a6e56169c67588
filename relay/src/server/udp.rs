//! The UDP port of lanes: many datagrams in one call, both ways.

mod together;

use std::io::ErrorKind::WouldBlock;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv6DontFrag, UdpGroSegment};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::Socket;

use super::udp_socket;

/// The longest run of datagrams that one receive can bring.
const RECEIVE_LIMIT: usize = 65_535;
/// From one run's place to the next one's. Were it a power of two, the first bytes of all would have the
/// same few places in a cache.
const APART: usize = RECEIVE_LIMIT + 1_601;
/// Runs in one receive: enough to send datagrams of one lane together where they came one by one.
pub(super) const RECEIVE_BATCH: usize = 32;

/// Datagrams that are sent by themselves: copying them to others costs more than it saves.
const MANY: usize = 8;

/// The socket.
pub(super) struct Udp {
    socket: Socket,
    state: UdpSocketState,
    v6: bool,
    /// Whether it is bound to one address, from which all it sends comes.
    at_one: bool,
    /// How it marks what it sends, if it is told nothing.
    mark: Option<EcnCodepoint>,
}

/// Room for what one call receives.
pub(super) struct Received {
    bytes: Box<[u8]>,
    meta: [RecvMeta; RECEIVE_BATCH],
}

/// A run of datagrams of one length from one source; the last may be shorter.
pub(super) struct Run<'a> {
    pub(super) arrival: Arrival,
    pub(super) stride: usize,
    pub(super) bytes: &'a mut [u8],
}

/// Where datagrams came from, at which address of ours, and how they were marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) from: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// Datagrams of one length for one destination.
pub(super) struct Departure<'a> {
    pub(super) to: SocketAddr,
    pub(super) via: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) segment: usize,
    pub(super) bytes: &'a [u8],
}

impl Departure<'_> {
    /// Whether it is worth a call of its own.
    pub(super) const fn is_many(&self) -> bool {
        self.bytes.len() >= MANY * self.segment
    }
}

impl Udp {
    /// A socket at this address; `key` of the configuration says so.
    pub(super) fn open(address: SocketAddr, key: &str) -> Result<Self> {
        let v6 = address.is_ipv6();
        let udp = Self::of(udp_socket::bound(address, key)?, address)
            .context("preparing the socket of lanes")?;
        let socket = &udp.socket;
        // What the way has no room for leaves in pieces: the switch in the kernel counts on it.
        sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)
            .context("allowing fragments on the socket of lanes")?;
        if v6 {
            sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)
                .context("allowing fragments on the socket of lanes")?;
            setsockopt(socket, Ipv6DontFrag, &false)
                .context("allowing fragments on the socket of lanes")?;
        }
        Ok(udp)
    }

    /// A socket that is bound to this address. What the way has no room for does not leave.
    pub(super) fn of(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let at_one = !address.ip().is_unspecified();
        Ok(Self { socket, state, v6: address.is_ipv6(), at_one, mark: None })
    }

    /// Marks all that it sends as of a transport that knows ECN (RFC 3168), so that nothing has to be said
    /// of each.
    pub(super) fn knows_ecn(mut self) -> io::Result<Self> {
        let mark = EcnCodepoint::Ect0;
        self.socket.set_tos_v4((mark as u8).into())?;
        if self.v6 {
            self.socket.set_tclass_v6((mark as u8).into())?;
        }
        self.mark = Some(mark);
        Ok(self)
    }

    /// Segments that one send may have.
    pub(super) fn most_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Has datagrams come one by one, not joined (GRO): what the kernel has joined before XDP in its
    /// generic mode is one large datagram to it.
    pub(super) fn keep_apart(&self) -> io::Result<()> {
        Ok(setsockopt(&self.socket, UdpGroSegment, &false)?)
    }

    pub(super) fn local_address(&self) -> Result<SocketAddr> {
        let address = self.socket.local_addr().context("the address of lanes")?;
        address.as_socket().context("the address of lanes is not one of IP")
    }

    /// Receives what is there; gives how many runs it is.
    pub(super) fn receive(&self, into: &mut Received) -> io::Result<usize> {
        let mut slices =
            into.bytes.chunks_mut(APART).map(|at| IoSliceMut::new(&mut at[..RECEIVE_LIMIT]));
        let mut buffers: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        match self.state.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut into.meta) {
            Err(error) if error.kind() == WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Sends; gives how many datagrams the network did not take.
    pub(super) fn send(&self, departure: &Departure<'_>) -> usize {
        let count = departure.bytes.len().div_ceil(departure.segment.max(1));
        let mut transmit = Transmit {
            destination: self.on_the_wire(departure.to),
            ecn: departure.ecn,
            contents: departure.bytes,
            // A single one may be sent in pieces, which the kernel does to no segment.
            segment_size: (count > 1).then_some(departure.segment),
            src_ip: self.source(departure.via),
        };
        let at_once = count == 1 || count <= self.state.max_gso_segments();
        if at_once {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => return 0,
                // A full buffer stays full for the single ones too.
                Err(error) if count == 1 || error.kind() == WouldBlock => return count,
                Err(_) => {}
            }
        }
        transmit.segment_size = None;
        let mut refused = 0;
        for datagram in departure.bytes.chunks(departure.segment.max(1)) {
            transmit.contents = datagram;
            let sent = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
            refused += usize::from(sent.is_err());
        }
        refused
    }

    /// From where to send: the kernel need not be told what it knows.
    fn source(&self, via: Option<IpAddr>) -> Option<IpAddr> {
        via.filter(|_| !self.at_one)
    }

    /// A v6 socket knows v4 addresses only in their mapped form.
    fn on_the_wire(&self, address: SocketAddr) -> SocketAddr {
        match (self.v6, address) {
            (true, SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => address,
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Received {
    pub(super) fn new() -> Self {
        let bytes = vec![0; RECEIVE_BATCH * APART].into();
        Self { bytes, meta: [RecvMeta::default(); RECEIVE_BATCH] }
    }

    /// The first runs.
    pub(super) fn runs(&mut self, count: usize) -> impl Iterator<Item = Run<'_>> {
        let received = self.bytes.chunks_mut(APART).zip(&self.meta).take(count);
        received.map(|(bytes, meta)| Run {
            arrival: Arrival {
                from: canonical(meta.addr),
                local: meta.dst_ip.map(|ip| ip.to_canonical()),
                ecn: meta.ecn,
            },
            stride: meta.stride.max(1),
            bytes: &mut bytes[..meta.len],
        })
    }
}

/// One form for one address: IPv4 as such, and no flow label.
fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) => {
            SocketAddrV6::new(ip, v6.port(), 0, scope(ip, v6.scope_id())).into()
        }
        (ip, _) => (ip, address.port()).into(),
    }
}

/// Only a link-local address needs its interface.
fn scope(ip: Ipv6Addr, scope: u32) -> u32 {
    if ip.is_unicast_link_local() { scope } else { 0 }
}
