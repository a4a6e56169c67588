//! The WireGuard port: a UDP socket for both families, or a group of them that share the port.

use std::collections::HashMap;
use std::io::ErrorKind::WouldBlock;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use engine::{Batch, Ecn, Endpoint, Timestamp};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

/// What is asked of the kernel for each direction, in bytes (kernel WireGuard asks the same).
const BUFFER: usize = 7 << 20;
/// The longest run of datagrams that one receive can bring.
const RECEIVE_LIMIT: usize = 65_535;

/// The most super-datagrams of one receive: what fits the second-level cache with what becomes of
/// it, and lets the host's packets have their turn soon.
pub(crate) const RECEIVE_BATCH: usize = 8;
/// How long a peer's datagrams go one by one after the kernel would not cut a batch for it.
const NARROW: Duration = Duration::from_secs(10);
/// Peers behind narrow paths that are remembered.
const NARROW_LIMIT: usize = 64;

/// A socket of the port.
pub(crate) struct Udp {
    socket: Arc<Socket>,
    state: UdpSocketState,
    v6: bool,
    /// Where a path is too narrow for our datagrams the kernel cuts no batch, only fragments.
    narrow: HashMap<IpAddr, Timestamp>,
}

/// What happens to a datagram that is too long for its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// It goes in fragments.
    Any,
    /// It is lost: that is how the way's length is found.
    Tried,
}

/// Room for what one call receives.
pub(crate) struct Received {
    bytes: Box<[u8]>,
    meta: [RecvMeta; RECEIVE_BATCH],
    filled: usize,
}

impl Udp {
    /// Opens a port (0: any), marking what is sent (0: not at all).
    pub(crate) fn open(port: u16, fwmark: u32) -> io::Result<Self> {
        // A host may have IPv6 disabled: then there is only v4 to be had.
        let (socket, v6) = match bound(Domain::IPV6, port, false) {
            Err(error) if lacks_v6(&error) => (bound(Domain::IPV4, port, false)?, false),
            other => (other?, true),
        };
        Self::new(socket, v6, fwmark)
    }

    /// Opens one more socket of the same port.
    ///
    /// The first one was bound without `SO_REUSEPORT`, so a port that is in use is an error; it is
    /// set only now, by which the kernel makes the group.
    pub(crate) fn open_beside(&self, fwmark: u32) -> io::Result<Self> {
        self.socket.set_reuse_port(true)?;
        let domain = if self.v6 { Domain::IPV6 } else { Domain::IPV4 };
        Self::new(bound(domain, self.port()?, true)?, self.v6, fwmark)
    }

    fn new(socket: Socket, v6: bool, fwmark: u32) -> io::Result<Self> {
        if fwmark != 0 {
            socket.set_mark(fwmark)?;
        }
        size_buffers(&socket)?;
        let state = prepare(&socket, v6)?;
        Ok(Self { socket: Arc::new(socket), state, v6, narrow: HashMap::new() })
    }

    /// The port that we have.
    pub(crate) fn port(&self) -> io::Result<u16> {
        let address = self.socket.local_addr()?.as_socket();
        Ok(address.map_or(0, |address| address.port()))
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Receives what is there, which may be nothing.
    pub(crate) fn receive(&self, into: &mut Received) -> io::Result<()> {
        into.filled = 0;
        let mut slices = into.bytes.chunks_mut(RECEIVE_LIMIT).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        match self.state.recv(UdpSockRef::from(&*self.socket), &mut buffers, &mut into.meta) {
            Ok(filled) => {
                into.filled = filled;
                Ok(())
            }
            Err(error) if error.kind() == WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch: in one call where the kernel cuts it, else one by one.
    pub(crate) fn send(&mut self, batch: &Batch<'_>, now: Timestamp) -> io::Result<()> {
        match self.send_from(batch, batch.to.source, now) {
            Err(error) if batch.to.source.is_some() && error.kind() != WouldBlock => {
                // The address of ours that the peer knew may be gone: the kernel chooses another.
                self.state = prepare(&self.socket, self.v6)?;
                self.send_from(batch, None, now)
            }
            other => other,
        }
    }

    /// Sends one datagram of somebody else's.
    pub(crate) fn send_one(&self, to: SocketAddr, bytes: &[u8], length: Length) -> io::Result<()> {
        match length {
            Length::Any => self.send_alone(to, bytes),
            Length::Tried => {
                // For this one datagram: nobody else sends by this socket meanwhile.
                sys::forbid_fragments(self.socket.as_fd(), self.v6)?;
                let sent = self.send_alone(to, bytes);
                sys::allow_fragments(self.socket.as_fd(), self.v6)?;
                sent
            }
        }
    }

    fn send_alone(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.on_the_wire(to),
            ecn: None,
            contents: bytes,
            segment_size: None,
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&*self.socket), &transmit)
    }

    fn send_from(
        &mut self,
        batch: &Batch<'_>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> io::Result<()> {
        let peer = batch.to.address.ip();
        let mut transmit = Transmit {
            destination: self.on_the_wire(batch.to.address),
            ecn: EcnCodepoint::from_bits(batch.ecn.bits()),
            contents: batch.bytes,
            segment_size: Some(batch.segment),
            src_ip: source,
        };
        let many = batch.bytes.len() > batch.segment;
        let narrow = || self.narrow.get(&peer).is_some_and(|until| now < *until);
        if !many || (self.state.max_gso_segments() > 1 && !narrow()) {
            match self.state.try_send(UdpSockRef::from(&*self.socket), &transmit) {
                Err(error) if many && segmentation_failed(&error) => {
                    // The state takes this for a lack of segmentation: it is made anew, so that
                    // other peers keep theirs.
                    if error.raw_os_error() != Some(libc::EIO) {
                        self.state = prepare(&self.socket, self.v6)?;
                    }
                    self.narrow.retain(|_, until| now < *until);
                    if self.narrow.len() < NARROW_LIMIT {
                        self.narrow.insert(peer, now + NARROW);
                    }
                }
                other => return other,
            }
        }
        transmit.segment_size = None;
        for datagram in batch.datagrams() {
            transmit.contents = datagram;
            self.state.try_send(UdpSockRef::from(&*self.socket), &transmit)?;
        }
        Ok(())
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
    pub(crate) fn new() -> Self {
        let bytes = vec![0; RECEIVE_BATCH * RECEIVE_LIMIT].into();
        Self { bytes, meta: [RecvMeta::default(); RECEIVE_BATCH], filled: 0 }
    }

    /// Whether there was no room for more: there may be some.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.meta.len()
    }

    /// The datagrams of some super-datagrams, with where they came from and how they were marked.
    pub(crate) fn datagrams(
        &self,
        some: Range<usize>,
    ) -> impl Iterator<Item = (Endpoint, Ecn, &[u8])> {
        let received = self.bytes.chunks(RECEIVE_LIMIT).zip(&self.meta[..self.filled]);
        received.skip(some.start).take(some.len()).flat_map(|(bytes, meta)| {
            let from = Endpoint {
                address: canonical(meta.addr),
                source: meta.dst_ip.map(|ip| ip.to_canonical()),
            };
            let ecn = meta.ecn.map_or(Ecn::NotCapable, |ecn| Ecn::from_tos(ecn as u8));
            // An empty datagram has no stride; it is still one.
            let stride = meta.stride.max(1);
            (0..meta.len.div_ceil(stride).max(1)).map(move |number| {
                let start = number * stride;
                (from, ecn, &bytes[start..meta.len.min(start + stride)])
            })
        })
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            (address.ip().to_canonical(), address.port()).into()
        }
        _ => address,
    }
}

fn bound(domain: Domain, port: u16, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    let any: IpAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    socket.set_reuse_port(shared)?;
    socket.bind(&SocketAddr::from((any, port)).into())?;
    Ok(socket)
}

fn lacks_v6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Segmentation is refused by old drivers (EIO) and where a segment exceeds the path's MTU.
fn segmentation_failed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

fn prepare(socket: &Socket, v6: bool) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    sys::allow_fragments(socket.as_fd(), v6)?;
    sys::forget_arrival_times(socket.as_fd())?;
    Ok(state)
}

fn size_buffers(socket: &Socket) -> io::Result<()> {
    // Without CAP_NET_ADMIN the system's limit holds.
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    let got = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if got < BUFFER {
        tracing::warn!(bytes = got, wanted = BUFFER, "the kernel gave smaller socket buffers");
    }
    Ok(())
}
