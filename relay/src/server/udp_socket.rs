//! UDP sockets of the relay: both families where the address allows it, and buffers for many clients.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use super::listening::failed;

/// What is asked of the kernel for each direction, in bytes: all clients of a socket share it.
const BUFFER: usize = 7 << 20;

/// A socket at this address; `key` of the configuration says so.
pub(super) fn bound(address: SocketAddr, key: &str) -> Result<Socket> {
    bound_with(address, key, false)
}

/// One of several at this address.
pub(super) fn bound_with_others(address: SocketAddr, key: &str) -> Result<Socket> {
    bound_with(address, key, true)
}

fn bound_with(address: SocketAddr, key: &str, others: bool) -> Result<Socket> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_port(others)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let socket = open().map_err(|error| failed(error, address, key))?;
    size_buffers(&socket, key).with_context(|| format!("sizing the buffers of `{key}`"))?;
    Ok(socket)
}

fn size_buffers(socket: &Socket, key: &str) -> io::Result<()> {
    // Without CAP_NET_ADMIN the system's limit holds.
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    let got = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if got < BUFFER {
        tracing::warn!(
            socket = key,
            bytes = got,
            wanted = BUFFER,
            "the kernel gave smaller socket buffers: give CAP_NET_ADMIN or raise net.core.rmem_max \
             and wmem_max"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_what_the_kernel_allows_and_says_where_it_failed() {
        let socket = bound("[::1]:0".parse().unwrap(), "quic").unwrap();
        let limit = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap();
            // The kernel doubles what is asked, for its own needs.
            2 * text.trim().parse::<usize>().unwrap()
        };
        assert!(socket.recv_buffer_size().unwrap() >= BUFFER.min(limit("rmem_max")));
        assert!(socket.send_buffer_size().unwrap() >= BUFFER.min(limit("wmem_max")));
        let taken = socket.local_addr().unwrap().as_socket().unwrap();
        let error = format!("{:#}", bound(taken, "mesh").unwrap_err());
        assert!(error.contains(&format!("listening on {taken} (`mesh`)")), "{error}");
    }
}
