//! The WireGuard port: one UDP socket for both families.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use engine::{Batch, Endpoint};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

/// What is asked of the kernel for each direction, in bytes (kernel WireGuard asks the same).
const BUFFER: usize = 7 << 20;
/// The longest run of datagrams that one receive can bring.
const RECEIVE_LIMIT: usize = 65_535;

/// An open port.
pub(crate) struct Udp {
    socket: Socket,
    state: UdpSocketState,
    port: u16,
    v6: bool,
}

/// Room for what one call receives.
pub(crate) struct Received {
    bytes: Box<[u8]>,
    meta: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Udp {
    /// Opens a port (0: any), marking what it sends (0: not at all).
    pub(crate) fn open(port: u16, fwmark: u32) -> io::Result<Self> {
        // A host may have IPv6 disabled: then there is only v4 to be had.
        let (socket, v6) = match open_v6(port) {
            Err(error) if lacks_v6(&error) => (open_v4(port)?, false),
            other => (other?, true),
        };
        if fwmark != 0 {
            socket.set_mark(fwmark)?;
        }
        let state = prepare(&socket, v6)?;
        let port = socket.local_addr()?.as_socket().map_or(port, |address| address.port());
        Ok(Self { socket, state, port, v6 })
    }

    /// The port that we have.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Marks what is sent from now on.
    pub(crate) fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.socket.set_mark(mark)
    }

    /// Receives what is there; false if there was nothing.
    pub(crate) fn receive(&self, into: &mut Received) -> io::Result<bool> {
        into.filled = 0;
        let mut slices = into.bytes.chunks_mut(RECEIVE_LIMIT).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        match self.state.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut into.meta) {
            Ok(filled) => {
                into.filled = filled;
                Ok(filled > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch: in one call where the kernel segments, else one by one.
    pub(crate) fn send(&mut self, batch: &Batch<'_>) -> io::Result<()> {
        let sent = self.send_from(batch, batch.to.source);
        match sent {
            // The address of ours that the peer knew may be gone: the kernel chooses another. The
            // state is made anew because it takes such an error for a lack of segmentation.
            Err(_) if batch.to.source.is_some() => {
                self.state = prepare(&self.socket, self.v6)?;
                self.send_from(batch, None)
            }
            other => other,
        }
    }

    fn send_from(&self, batch: &Batch<'_>, source: Option<IpAddr>) -> io::Result<()> {
        let mut transmit = Transmit {
            destination: self.on_the_wire(batch.to.address),
            ecn: None,
            contents: batch.bytes,
            segment_size: Some(batch.segment),
            src_ip: source,
        };
        if self.state.max_gso_segments() > 1 || batch.bytes.len() <= batch.segment {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Err(error) if segmentation_failed(&error) && batch.bytes.len() > batch.segment => {}
                other => return other,
            }
        }
        transmit.segment_size = None;
        for datagram in batch.datagrams() {
            transmit.contents = datagram;
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?;
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
        let bytes = vec![0; BATCH_SIZE * RECEIVE_LIMIT].into();
        Self { bytes, meta: [RecvMeta::default(); BATCH_SIZE], filled: 0 }
    }

    /// The datagrams, with where they came from.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (Endpoint, &[u8])> {
        self.bytes.chunks(RECEIVE_LIMIT).zip(&self.meta[..self.filled]).flat_map(|(bytes, meta)| {
            let from = Endpoint {
                address: canonical(meta.addr),
                source: meta.dst_ip.map(|ip| ip.to_canonical()),
            };
            // An empty datagram has no stride; it is still one.
            let stride = meta.stride.max(1);
            (0..meta.len.div_ceil(stride).max(1)).map(move |number| {
                let start = number * stride;
                (from, &bytes[start..meta.len.min(start + stride)])
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

fn open_v6(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

fn open_v4(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
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
    Ok(state)
}
