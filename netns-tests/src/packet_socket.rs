//! Packets handed to an interface, and seen on one, past the IP stack.
#![allow(unsafe_code, reason = "rustix has no address of a packet socket; argued below")]

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, bind, recv, sendto, socket};

use crate::socket_option::set_socket_option;

/// A burst of some thousand packets must not be lost in the sniffer's own socket.
const BUFFER: usize = 8 << 20;
/// The longest packet there is.
const PACKET_LIMIT: usize = 65_536;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// By a packet's first byte; what is neither passes for IPv4.
    pub(crate) fn of(packet: &[u8]) -> Self {
        if packet.first().is_some_and(|byte| byte >> 4 == 6) { Self::V6 } else { Self::V4 }
    }

    /// What Ethernet calls it; a TUN interface carries no Ethernet, but wants to know.
    const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => 0x0800,
            Self::V6 => 0x86dd,
        }
    }
}

/// A packet socket on one interface.
pub(crate) struct PacketSocket {
    socket: OwnedFd,
    address: LinkAddress,
}

impl PacketSocket {
    /// On an interface of the calling thread's namespace, for packets without a link's header.
    pub(crate) fn open(interface: &str, family: Family) -> io::Result<Self> {
        Self::of_type(SocketType::DGRAM, interface, family)
    }

    /// On an interface that has no link header itself, for packets with a `struct virtio_net_hdr`.
    pub(crate) fn open_offloaded(interface: &str, family: Family) -> io::Result<Writer> {
        let own = Self::of_type(SocketType::RAW, interface, family)?;
        let on = 1i32.to_ne_bytes();
        set_socket_option(&own.socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &on)?;
        Ok(Writer(own))
    }

    fn of_type(kind: SocketType, interface: &str, family: Family) -> io::Result<Self> {
        let socket = socket(AddressFamily::PACKET, kind, None)?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
        Ok(Self { socket, address: LinkAddress::new(family, index) })
    }

    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        sendto(&self.socket, packet, SendFlags::empty(), &self.address)?;
        Ok(())
    }

    pub(crate) fn listen(self) -> io::Result<Sniffer> {
        // Large enough before the first packet can come. Bound to one protocol, it is not shown
        // what leaves.
        set_socket_recv_buffer_size_force(&self.socket, BUFFER)?;
        bind(&self.socket, &self.address)?;
        Ok(Sniffer { socket: self.socket, buffer: vec![0; PACKET_LIMIT] })
    }
}

/// Writes packets to an interface without link headers, past the host's IP stack; see
/// [`crate::Host::writer`].
pub struct Writer(PacketSocket);

impl Writer {
    /// Writes a packet as it is, or as `vnet` says: Linux's `struct virtio_net_hdr`, which tells of a
    /// checksum to be completed or a super-packet.
    ///
    /// # Errors
    /// When the kernel sees that the header lies.
    pub fn write(&self, vnet: &[u8; 10], packet: &[u8]) -> io::Result<()> {
        self.0.send(&[vnet, packet].concat())
    }
}

/// Sees what arrives on an interface; see [`crate::Host::sniff`].
#[derive(Debug)]
pub struct Sniffer {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Sniffer {
    /// The next packet that is wanted, from the IP header on. A super-packet is one packet.
    ///
    /// # Errors
    /// When none comes within `timeout`.
    pub fn next(&mut self, timeout: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let mut others = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "not seen within {timeout:?} among {others} others");
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?;
            let received = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty());
            let (len, _) = received
                .with_context(|| format!("not seen within {timeout:?} among {others} others"))?;
            if wanted(&self.buffer[..len]) {
                return Ok(self.buffer[..len].to_vec());
            }
            others += 1;
        }
    }
}

/// Linux's `struct sockaddr_ll` (packet(7)).
#[repr(C)]
struct LinkAddress {
    family: u16,
    /// Big-endian, as on Ethernet.
    protocol: u16,
    interface: i32,
    hardware: u16,
    packet_type: u8,
    address_len: u8,
    address: [u8; 8],
}

impl LinkAddress {
    const fn new(family: Family, index: u32) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: family.ethertype().to_be(),
            interface: index.cast_signed(),
            hardware: 0,
            packet_type: 0,
            address_len: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the pointer is to a whole `sockaddr_ll`, which lives through the call of `f`.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        #[allow(clippy::cast_possible_truncation, reason = "an address is some bytes long")]
        const LEN: SocketAddrLen = size_of::<LinkAddress>() as SocketAddrLen;
        f(std::ptr::from_ref(self).cast(), LEN)
    }
}
