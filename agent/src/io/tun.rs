//! The tunnel interface, from its user end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, bail};

use super::sys;

/// The MTU of a new interface: 1500 less WireGuard over IPv6.
pub(crate) const DEFAULT_MTU: u16 = 1420;
/// The longest packet that an interface can hand us.
pub(crate) const PACKET_LIMIT: usize = 65_535;

/// A TUN interface; it vanishes with this.
pub(crate) struct Tun {
    device: File,
}

impl Tun {
    /// Makes the interface, down, with the default MTU.
    pub(crate) fn create(name: &str) -> anyhow::Result<Self> {
        check_name(name)?;
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun; is the kernel's tun driver there, are you root?")?;
        sys::tun_set_interface(&device, name).with_context(|| match name_taken(name) {
            true => format!("interface {name} exists already; remove it or choose another name"),
            false => format!("cannot make the interface {name}; it takes CAP_NET_ADMIN"),
        })?;
        sys::set_mtu(name, DEFAULT_MTU)
            .with_context(|| format!("cannot set the MTU of {name} to {DEFAULT_MTU}"))?;
        Ok(Self { device })
    }

    /// Reads one packet, if there is one.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.device.read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands one packet to the host.
    pub(crate) fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.device.write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// What the kernel would refuse, said so that it can be mended; and `%`, which it would expand.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = (1..=15).contains(&name.len());
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/%:".contains(&byte));
    if !fits || !plain || name == "." || name == ".." {
        bail!(
            "{name:?} cannot name an interface: 1 to 15 printable characters, none of them space, \
             '/', '%' or ':'"
        );
    }
    Ok(())
}

fn name_taken(name: &str) -> bool {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .is_ok_and(|socket| rustix::net::netdevice::name_to_index(socket, name).is_ok())
}
