//! Real traffic between hosts, small and checked.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::host::Host;

const CHUNK: usize = 64 << 10;
/// A burst of some thousand datagrams must not be lost in the receiver's own socket.
const UDP_BUFFER: usize = 8 << 20;
/// How often an echo looks whether it shall stop.
const ECHO_TICK: Duration = Duration::from_millis(50);

/// A finished TCP transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes that arrived, each as it was sent.
    pub bytes: u64,
    /// From the first call to connect until the receiver had all.
    pub elapsed: Duration,
}

impl Transfer {
    /// Goodput in megabits per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate for people and wide margins")]
    pub fn mbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8e-6 / self.elapsed.as_secs_f64()
    }
}

/// Sends pseudo-random bytes over TCP to `address` of the host `to`, which compares each with what
/// it must be.
///
/// # Errors
/// When they do not all arrive as sent within `timeout`.
pub fn tcp_transfer(
    from: &Host,
    to: &Host,
    address: IpAddr,
    bytes: u64,
    timeout: Duration,
) -> Result<Transfer> {
    let what = || format!("TCP {} -> {} ({address})", from.name(), to.name());
    let listener = to.enter(|| TcpListener::bind((address, 0)))?;
    let listener = listener.with_context(what)?;
    let destination = listener.local_addr()?;
    let started = Instant::now();
    let deadline = started + timeout;
    // Connected before it is accepted: the backlog holds it, so no thread can hang in accept.
    let stream = from.enter(|| TcpStream::connect_timeout(&destination, timeout))?;
    let stream = stream.with_context(what)?;
    let (accepted, _) = listener.accept()?;
    let chunks = || Chunks::new(bytes, destination);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send_stream(stream, chunks(), deadline));
        let received = receive_stream(accepted, chunks(), deadline);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The receiver knows better what went wrong.
        received.and(sent)
    })
    .with_context(what)?;
    Ok(Transfer { bytes, elapsed: started.elapsed() })
}

/// Whether a TCP connection from `host` comes about within `timeout`.
#[must_use]
pub fn can_connect(host: &Host, address: SocketAddr, timeout: Duration) -> bool {
    host.enter(|| TcpStream::connect_timeout(&address, timeout))
        .is_ok_and(|connected| connected.is_ok())
}

/// A UDP socket in `host`, with a receive buffer for bursts.
///
/// # Errors
/// When the address cannot be bound.
pub fn udp_socket(host: &Host, address: SocketAddr) -> Result<UdpSocket> {
    let socket = host.enter(|| UdpSocket::bind(address))?;
    let socket = socket.with_context(|| format!("{}: UDP {address}", host.name()))?;
    set_socket_recv_buffer_size_force(&socket, UDP_BUFFER)?;
    Ok(socket)
}

/// A UDP echo in a host, until it is dropped.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts to answer on `address` (port 0 picks one).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let socket = udp_socket(host, address)?;
        socket.set_read_timeout(Some(ECHO_TICK))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                    // An echo that cannot be sent is a datagram lost.
                    let _ = socket.send_to(&buffer[..len], peer);
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

/// Sends one datagram from `from` to an echo and waits for the same bytes.
///
/// # Errors
/// When they are not back within `timeout`.
pub fn udp_round_trip(
    from: &Host,
    echo: SocketAddr,
    payload: &[u8],
    timeout: Duration,
) -> Result<Duration> {
    let socket = udp_socket(from, unspecified_like(echo))?;
    socket.connect(echo)?;
    socket.set_read_timeout(Some(timeout))?;
    let started = Instant::now();
    socket.send(payload)?;
    let mut buffer = vec![0; CHUNK];
    let len = socket
        .recv(&mut buffer)
        .with_context(|| format!("{}: no echo from {echo}", from.name()))?;
    ensure!(buffer[..len] == *payload, "{echo} echoed other bytes");
    Ok(started.elapsed())
}

/// Sends `count` numbered datagrams, as fast as it goes, to `address` of the host `to`. Returns the
/// numbers that arrived, in their order; `quiet` without any more ends it.
///
/// # Errors
/// When a socket cannot be had or does not send.
pub fn udp_one_way(
    from: &Host,
    to: &Host,
    address: IpAddr,
    count: u32,
    quiet: Duration,
) -> Result<Vec<u32>> {
    let receiver = udp_socket(to, (address, 0).into())?;
    receiver.set_read_timeout(Some(quiet))?;
    let destination = receiver.local_addr()?;
    let sender = udp_socket(from, unspecified_like(destination))?;
    for number in 0..count {
        sender.send_to(&number.to_be_bytes(), destination)?;
    }
    let mut arrived = Vec::new();
    let mut datagram = [0; 4];
    while receiver.recv(&mut datagram).is_ok() {
        arrived.push(u32::from_be_bytes(datagram));
    }
    Ok(arrived)
}

pub(crate) fn unspecified_like(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    (any, 0).into()
}

fn send_stream(mut stream: TcpStream, chunks: Chunks, deadline: Instant) -> Result<()> {
    for chunk in chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            stream.set_write_timeout(Some(left_until(deadline)?))?;
            match stream.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("sending"),
            }
        }
    }
    Ok(())
}

fn receive_stream(mut stream: TcpStream, chunks: Chunks, deadline: Instant) -> Result<()> {
    let (bytes, mut received) = (chunks.left, 0);
    let mut buffer = vec![0; CHUNK];
    for chunk in chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let progress = || format!("receiving, after {received} of {bytes} bytes");
            stream.set_read_timeout(Some(left_until(deadline).with_context(progress)?))?;
            let len = match stream.read(&mut buffer[..rest.len()]) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).with_context(progress),
            };
            ensure!(len > 0, "the stream ended after {received} of {bytes} bytes");
            ensure!(buffer[..len] == rest[..len], "wrong bytes behind {received} of {bytes}");
            rest = &rest[len..];
            received += len as u64;
        }
    }
    Ok(())
}

fn left_until(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), "out of time");
    Ok(left)
}

/// The bytes of a transfer, made anew at either end, unlike those of any other: what strays from one
/// stream into another is seen.
struct Chunks {
    left: u64,
    rng: SmallRng,
}

impl Chunks {
    fn new(bytes: u64, destination: SocketAddr) -> Self {
        let mut seed = DefaultHasher::new();
        destination.hash(&mut seed);
        Self { left: bytes, rng: SmallRng::seed_from_u64(seed.finish()) }
    }
}

impl Iterator for Chunks {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; len];
        self.rng.fill_bytes(&mut chunk);
        self.left -= len as u64;
        (len > 0).then_some(chunk)
    }
}
