//! The system calls that need `unsafe`: new namespaces, TAP devices, what a child does before exec.
#![allow(
    unsafe_code,
    reason = "ioctl, unshare and pre_exec have no safe form; each use is argued below"
)]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A fresh network namespace that lives as long as the descriptor (and what was opened inside).
pub(crate) fn new_network_namespace() -> io::Result<OwnedFd> {
    // On a thread of its own: the caller stays where it is.
    let unshared = std::thread::spawn(|| {
        // SAFETY: only the network namespace is unshared; the table of descriptors stays common.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        Ok(File::open("/proc/thread-self/ns/net")?.into())
    });
    unshared.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Moves the calling thread, and what it opens or spawns from now on, into a namespace.
pub(crate) fn move_thread(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Makes `command` run inside `namespace` and die with the thread that spawns it.
pub(crate) fn prepare_child(command: &mut Command, namespace: Arc<OwnedFd>) {
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes three system calls on values it owns; it
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before it could be watched.
            if getppid() != Some(parent) {
                return Err(Errno::SRCH.into());
            }
            move_thread(&namespace)
        });
    }
}

/// Creates the TAP `device` in the calling thread's namespace. It is gone when the file is closed.
pub(crate) fn open_tap(device: &str) -> io::Result<File> {
    open_device(device, IFF_TAP)
}

/// Opens a queue of the TUN `device` in the calling thread's namespace, and makes it if need be.
pub(crate) fn open_tun(device: &str) -> io::Result<File> {
    // It was made for many queues or for one, and only that opens it.
    open_device(device, IFF_TUN | IFF_MULTI_QUEUE).or_else(|_| open_device(device, IFF_TUN))
}

fn open_device(device: &str, kind: u16) -> io::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/net/tun")
        .map_err(|error| io::Error::new(error.kind(), format!("/dev/net/tun: {error}")))?;
    let mut request =
        InterfaceFlags { name: interface_name(device)?, flags: kind | IFF_NO_PI, rest: [0; 22] };
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` (40 bytes), which InterfaceFlags is.
    unsafe { ioctl(&opened, Updater::<TUNSETIFF, _>::new(&mut request)) }?;
    Ok(opened)
}

/// Makes the kernel finish checksums before a frame leaves `device`, in the thread's namespace.
pub(crate) fn disable_tx_checksum(device: &str) -> io::Result<()> {
    let mut off = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let request = InterfaceData { name: interface_name(device)?, data: &raw mut off, rest: [0; 2] };
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: SIOCETHTOOL reads one `struct ifreq` whose data points to a `struct ethtool_value`;
    // `off` outlives the call.
    unsafe { ioctl(&any, Setter::<SIOCETHTOOL, _>::new(request)) }?;
    Ok(())
}

fn interface_name(device: &str) -> io::Result<[u8; 16]> {
    let mut name = [0; 16];
    // The last byte stays zero.
    let room = name[..15].get_mut(..device.len());
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(device.as_bytes());
    Ok(name)
}

// linux/if_tun.h, linux/sockios.h, linux/ethtool.h
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_STXCSUM: u32 = 0x17;
const IFF_TUN: u16 = 0x0001;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` with `ifr_flags`.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// `struct ifreq` with `ifr_data`.
#[repr(C)]
struct InterfaceData {
    name: [u8; 16],
    data: *mut EthtoolValue,
    rest: [usize; 2],
}

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}
