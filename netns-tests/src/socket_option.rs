//! The socket options for which there is no safe form.
#![allow(unsafe_code, reason = "setsockopt takes a pointer and a length")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets a socket option to any bytes.
///
/// # Errors
/// When the kernel refuses.
pub fn set_socket_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: setsockopt reads `len` bytes from the pointer, which are those of `value`.
    match unsafe { libc::setsockopt(descriptor, level, name, value.as_ptr().cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
