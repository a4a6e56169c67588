//! System calls that no crate of ours wraps safely.
#![allow(unsafe_code, reason = "ioctl and setsockopt of TUN and UDP have no safe wrapper")]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// `_IOR('T', 224, int)`, which libc does not name.
const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0_u32 as libc::Ioctl;

/// What a queue of a TUN interface is opened with.
#[derive(Clone, Copy)]
pub(super) struct TunFlags {
    /// A `struct virtio_net_hdr` before each packet.
    pub(super) vnet: bool,
    /// The interface can have several queues.
    pub(super) many: bool,
    /// The interface must not be there yet.
    pub(super) new: bool,
}

/// Makes `device` (an open `/dev/net/tun`) a queue of the TUN interface `name`.
pub(super) fn tun_set_interface(device: &File, name: &str, flags: TunFlags) -> io::Result<()> {
    let mut request = interface_request(name)?;
    let flag = |on, flag| if on { flag } else { 0 };
    let wanted = flag(flags.vnet, libc::IFF_VNET_HDR)
        | flag(flags.many, libc::IFF_MULTI_QUEUE)
        | flag(flags.new, libc::IFF_TUN_EXCL);
    // 16 bits wide in `ifreq`, where the highest flag is the sign.
    let flags = u16::try_from(libc::IFF_TUN | libc::IFF_NO_PI | wanted);
    let flags = flags.map_err(|_| io::ErrorKind::InvalidInput)?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    // SAFETY: `request` is an `ifreq` that lives through the call, as TUNSETIFF wants it.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &mut request) })
}

/// Lets an eBPF program (a socket filter) choose the queue of each packet.
pub(super) fn tun_set_steering(device: &File, program: BorrowedFd<'_>) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    // SAFETY: TUNSETSTEERINGEBPF reads an int, which `program` is and stays through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const program) })
}

/// Says whether the interface outlives its last queue.
pub(super) fn tun_set_persistent(device: &File, persistent: bool) -> io::Result<()> {
    let persistent = libc::c_ulong::from(persistent);
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST as _, persistent) })
}

/// Says which super-packets and partial checksums the user end takes.
pub(super) fn tun_set_offload(device: &File, offload: libc::c_uint) -> io::Result<()> {
    let offload = libc::c_ulong::from(offload);
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD as _, offload) })
}

/// Sets an interface's MTU.
pub(super) fn set_mtu(name: &str, mtu: u16) -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_mtu = mtu.into();
    // SAFETY: `request` is an `ifreq` that lives through the call, as SIOCSIFMTU wants it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, &mut request) })
}

/// Lets the kernel fragment our datagrams, as kernel WireGuard does, in place of dropping them
/// where the path is narrower than the interface. Over IPv4 routers do it too, so what ICMP, which
/// anybody can forge, says of a path is not minded: it would be for ten minutes.
pub(super) fn allow_fragments(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
    if v6 {
        let dont = libc::IPV6_PMTUDISC_DONT;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, dont)?;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
    }
    Ok(())
}

/// Lets our datagrams be lost that are longer than their path carries, whatever the kernel thinks of
/// that.
pub(super) fn forbid_fragments(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    if v6 {
        let probe = libc::IPV6_PMTUDISC_PROBE;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
    }
    Ok(())
}

/// Receives datagrams without the time at which they came: nobody looks at it.
pub(super) fn forget_arrival_times(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    // SAFETY: the option is an int, four bytes; `value` is one and lives through the call.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), LEN)
    })
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // One byte must stay for the terminating zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte.cast_signed();
    }
    Ok(request)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that tokio waits for.
pub(crate) fn awaited(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor until it is dropped, which `AsyncFd` does
    // after it has let go of it.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
