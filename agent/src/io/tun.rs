//! The tunnel interface, from its user end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, bail};
use engine::HostOffload;
use engine::offload::{VNET_HEADER_LEN, VnetHeader};

use super::sys::{self, TunFlags};

/// The MTU of a new interface: 1500 less WireGuard over IPv6.
pub(crate) const DEFAULT_MTU: u16 = 1420;
/// The longest that one read can bring: a super-packet and the header before it.
pub(crate) const READ_LIMIT: usize = 65_535 + VNET_HEADER_LEN;

/// Linux's `TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`.
const TCP_OFFLOAD: u32 = 0x01 | 0x02 | 0x04 | 0x08;
/// Linux's `TUN_F_USO4`, `TUN_F_USO6` (since 6.2).
const UDP_OFFLOAD: u32 = 0x20 | 0x40;

/// One queue of a TUN interface, which vanishes with its last queue.
pub(crate) struct Tun {
    device: File,
    offload: HostOffload,
}

/// An interface that outlives the process. Dropped, it vanishes with its last queue after all.
pub(crate) struct Persistent(File);

impl Drop for Persistent {
    fn drop(&mut self) {
        // Fails only if the interface is gone already.
        let _ = sys::tun_set_persistent(&self.0, false);
    }
}

/// How many queues an interface can ever have: it is made for one or for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queues {
    /// Only one. The kernel keeps less for such an interface.
    One,
    /// As many as are opened.
    Many,
}

/// What one read brought.
pub(crate) struct Read {
    /// What the host says of the packet; none without offload.
    pub(crate) vnet: Option<VnetHeader>,
    /// Where in the buffer the packet lies.
    pub(crate) packet: Range<usize>,
}

impl Tun {
    /// Makes the interface, down, with the default MTU.
    pub(crate) fn create(name: &str, wanted: HostOffload, queues: Queues) -> anyhow::Result<Self> {
        check_name(name)?;
        let vnet = wanted != HostOffload::None;
        let flags = TunFlags { vnet, many: queues == Queues::Many, new: true };
        let device = open()?;
        sys::tun_set_interface(&device, name, flags).with_context(|| {
            match interface_index(name).is_some() {
                true => {
                    format!(
                        "interface {name} exists already; remove it (ip link del {name}) or choose \
                         another name; one that a daemon with a policy left is taken over with \
                         --policy"
                    )
                }
                false => format!("cannot make the interface {name}; it takes CAP_NET_ADMIN"),
            }
        })?;
        let offload = set_offload(&device, wanted);
        set_mtu(name, DEFAULT_MTU)?;
        Ok(Self { device, offload })
    }

    /// Goes on with an interface that outlived its daemon, as it is.
    pub(crate) fn take_over(
        name: &str,
        wanted: HostOffload,
        queues: Queues,
    ) -> anyhow::Result<Self> {
        let flags = TunFlags {
            vnet: wanted != HostOffload::None,
            many: queues == Queues::Many,
            new: false,
        };
        let device = open()?;
        sys::tun_set_interface(&device, name, flags)
            .with_context(|| format!("cannot open the interface {name}"))?;
        let offload = set_offload(&device, wanted);
        Ok(Self { device, offload })
    }

    /// Makes the interface outlive the process, unless what this gives is dropped first.
    pub(crate) fn persist(&self) -> io::Result<Persistent> {
        let device = self.device.try_clone()?;
        sys::tun_set_persistent(&device, true)?;
        Ok(Persistent(device))
    }

    /// Opens one more queue of the interface `name`, which is this one's and made for many.
    pub(crate) fn open_queue(&self, name: &str) -> anyhow::Result<Self> {
        let device = open()?;
        let flags = TunFlags { vnet: self.offload != HostOffload::None, many: true, new: false };
        sys::tun_set_interface(&device, name, flags)
            .with_context(|| format!("cannot open one more queue of {name}"))?;
        Ok(Self { device, offload: self.offload })
    }

    /// Lets a program choose the queue of each packet that the host sends.
    pub(crate) fn steer(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        sys::tun_set_steering(&self.device, program)
    }

    /// What the host gives and takes.
    pub(crate) fn offload(&self) -> HostOffload {
        self.offload
    }

    /// Reads one packet or super-packet, if there is one.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<Read>> {
        let len = match self.device.read(buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.offload == HostOffload::None {
            return Ok(Some(Read { vnet: None, packet: 0..len }));
        }
        // A kind of super-packet that we did not ask for is one that we cannot cut: it is handed
        // on as a packet, and refused for its length.
        let vnet = buffer.first_chunk().and_then(VnetHeader::parse).unwrap_or_default();
        Ok(Some(Read { vnet: Some(vnet), packet: VNET_HEADER_LEN.min(len)..len }))
    }

    /// Hands one packet to the host, in the form that [`Self::offload`] says.
    pub(crate) fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.device.write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn open() -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .context("cannot open /dev/net/tun; is the kernel's tun driver there, are you root?")
}

/// Asks for super-packets. Where the kernel has none of a kind, it goes on without, and says so.
fn set_offload(device: &File, wanted: HostOffload) -> HostOffload {
    if wanted == HostOffload::None {
        return HostOffload::None;
    }
    if sys::tun_set_offload(device, TCP_OFFLOAD | UDP_OFFLOAD).is_ok() {
        return HostOffload::TcpAndUdp;
    }
    if let Err(error) = sys::tun_set_offload(device, TCP_OFFLOAD) {
        tracing::warn!(%error, "the kernel gives no super-packets: expect less throughput");
    } else {
        tracing::info!("the kernel has no UDP segmentation for TUN (Linux 6.2 has)");
    }
    HostOffload::Tcp
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

/// Sets an interface's MTU.
pub(crate) fn set_mtu(name: &str, mtu: u16) -> anyhow::Result<()> {
    sys::set_mtu(name, mtu).with_context(|| format!("cannot set the MTU of {name} to {mtu}"))
}

/// The index of the interface of this name, if there is one.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    rustix::net::netdevice::name_to_index(socket.ok()?, name).ok()
}
