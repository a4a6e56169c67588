//! The flows themselves: a TCP stream, numbered datagrams, echo requests. Only the stream takes all that
//! the tunnel carries, if it is to: who sends datagrams faster loses some for want of room.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::{Host, udp_socket};
use rustix::net::sockopt::{
    Timeout, set_socket_linger, set_socket_recv_buffer_size_force, set_socket_timeout,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};

use super::PATIENCE;
use super::flow::{Flow, TICK};
use crate::bench::policy::ends::Ends;
use crate::bench::policy::rules::{HERE, THERE};

/// The ports of what is revoked.
pub(super) const TCP: u16 = 7000;
pub(super) const UDP: u16 = 7001;
/// The ports of what stays allowed, one in each direction.
pub(super) const BYSTANDERS: [u16; 2] = [7100, 7101];

/// How much a TCP stream writes at once.
const CHUNK: usize = 16 << 10;
const EVERY_DATAGRAM: Duration = Duration::from_micros(150);
const EVERY_ECHO: Duration = Duration::from_micros(500);
const EVERY_BYSTANDER: Duration = Duration::from_millis(1);
/// Bytes of a datagram.
const PAYLOAD: usize = 200;
/// A receiver that is held up must not lose what it was given.
const BUFFER: usize = 8 << 20;

/// A TCP stream from the first host to the second, with so long between two writes.
pub(super) fn tcp(ends: &Ends<'_>, every: Duration) -> Result<Flow> {
    let at = SocketAddr::from((HERE, TCP));
    let listener = ends.b.enter(|| TcpListener::bind(at))?.context("listening")?;
    let mut sender = ends.a.enter(|| TcpStream::connect_timeout(&at, PATIENCE))?.context("TCP")?;
    let (mut receiver, _) = listener.accept().context("accepting")?;
    for stream in [&sender, &receiver] {
        // Gone at once when it is dropped: what is left of it must not go on.
        set_socket_linger(stream, Some(Duration::ZERO))?;
    }
    sender.set_nodelay(true)?;
    sender.set_write_timeout(Some(TICK))?;
    receiver.set_read_timeout(Some(TICK))?;
    let (chunk, mut buffer) = ([0; CHUNK], vec![0; 4 * CHUNK]);
    let send = move |_| sender.write(&chunk).is_ok_and(|len| len > 0);
    let receive = move || came(receiver.read(&mut buffer));
    Ok(Flow::start(every, send, receive))
}

/// Datagrams from the first host to the second, which the policy does not always allow.
pub(super) fn udp(ends: &Ends<'_>) -> Result<Flow> {
    datagrams(ends.a, THERE, ends.b, (HERE, UDP).into(), EVERY_DATAGRAM)
}

/// Datagrams in both directions, which the policy always allows.
pub(super) fn bystanders(ends: &Ends<'_>) -> Result<[Flow; 2]> {
    let [forth, back] = BYSTANDERS;
    Ok([
        datagrams(ends.a, THERE, ends.b, (HERE, forth).into(), EVERY_BYSTANDER)?,
        datagrams(ends.b, HERE, ends.a, (THERE, back).into(), EVERY_BYSTANDER)?,
    ])
}

fn datagrams(
    from: &Host,
    source: Ipv4Addr,
    to: &Host,
    at: SocketAddr,
    every: Duration,
) -> Result<Flow> {
    let receiver = udp_socket(to, at)?;
    receiver.set_read_timeout(Some(TICK))?;
    let sender: UdpSocket = udp_socket(from, (source, 0).into())?;
    sender.connect(at)?;
    let mut next = 0;
    let send = move |number: u64| {
        let mut payload = [0; PAYLOAD];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        sender.send(&payload).is_ok()
    };
    let receive = move || {
        let mut payload = [0; PAYLOAD];
        let whole = came(receiver.recv(&mut payload));
        let number = payload.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
        // A duplicate must not stand in for one that was lost.
        let first = whole && number >= next;
        if first {
            next = number + 1;
        }
        first
    };
    Ok(Flow::start(every, send, receive))
}

/// Echo requests from the first host to the second.
pub(super) fn icmp(ends: &Ends<'_>) -> Result<Flow> {
    let raw = |host: &Host| -> Result<OwnedFd> {
        let open = || socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP));
        let socket = host.enter(open)?.context("a raw socket")?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TICK))?;
        set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        Ok(socket)
    };
    let (sender, receiver) = (raw(ends.a)?, raw(ends.b)?);
    let to = SocketAddr::from((HERE, 0));
    let send =
        move |number: u64| sendto(&sender, &echo_request(number), SendFlags::empty(), &to).is_ok();
    let receive = move || {
        let mut packet = [0; 128];
        // An IPv4 header of 20 bytes, then type 8: an echo request. Answers go out the same way.
        let received = recv(&receiver, &mut packet[..], RecvFlags::empty());
        came(received.map(|(len, _)| len).map_err(Into::into)) && packet[20] == 8
    };
    Ok(Flow::start(EVERY_ECHO, send, receive))
}

/// An echo request of eight bytes of header and as many of payload.
fn echo_request(number: u64) -> [u8; 16] {
    const ID: u16 = 0x4e57;
    let mut packet = [0; 16];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&ID.to_be_bytes());
    let [.., high, low] = number.to_be_bytes();
    packet[6..8].copy_from_slice(&[high, low]);
    packet[8..].copy_from_slice(&number.to_be_bytes());
    let sum = crate::bench::policy::flood::checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Whether something came; an end or an error must not become a busy loop.
fn came(received: std::io::Result<usize>) -> bool {
    match received {
        Ok(len) if len > 0 => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        _ => {
            thread::sleep(Duration::from_millis(1));
            false
        }
    }
}
