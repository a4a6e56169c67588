//! TCP connections one after the other, each from an address and to a port of its own, as fast as
//! they come about.

use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::host::Host;

/// Clients that connect at once: enough to keep the way busy while each awaits its answer.
const CLIENTS: u64 = 4;
/// How often the server looks whether it shall stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// A connection that takes longer has failed: nothing on the way is slower but a lost packet's
/// second attempt, and few are forgiven.
const PATIENCE: Duration = Duration::from_secs(3);

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Connects {
    /// Connections that came about.
    pub made: u64,
    /// Connections that did not.
    pub failed: u64,
    /// How long it was tried.
    pub elapsed: Duration,
}

impl Connects {
    /// Connections made a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate for people and wide margins")]
    pub fn rate(&self) -> f64 {
        self.made as f64 / self.elapsed.as_secs_f64()
    }
}

/// Connects from one host to listeners in another for so long. `pair` says where the connection of
/// this number goes from (an address that the host has) and to.
///
/// # Errors
/// When a socket cannot be had, or no connection comes about at all.
pub fn tcp_connects(
    from: &Host,
    to: &Host,
    listen: &[SocketAddrV4],
    time: Duration,
    pair: impl Fn(u32) -> (SocketAddrV4, SocketAddrV4) + Sync,
) -> Result<Connects> {
    let listeners =
        to.enter(|| listen.iter().map(TcpListener::bind).collect::<Result<Vec<_>, _>>());
    let listeners = listeners?.with_context(|| format!("{}: listening", to.name()))?;
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    let (stop, next) = (AtomicBool::new(false), AtomicU32::new(0));
    let started = Instant::now();
    let (made, failed) = std::thread::scope(|scope| {
        let server = scope.spawn(|| accept_until(&listeners, &stop));
        let client = || from.enter(|| connect_until(started + time, &next, &pair))?;
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let counts: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        counts.into_iter().try_fold((0, 0), |(made, failed), count| {
            let (more, less) = count?;
            Ok::<_, anyhow::Error>((made + more, failed + less))
        })
    })?;
    ensure!(made > 0, "{}: of {failed} TCP connections none came about", from.name());
    Ok(Connects { made, failed, elapsed: started.elapsed() })
}

fn accept_until(listeners: &[TcpListener], stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let mut ready: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        match poll(&mut ready, Some(&TICK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("awaiting connections"),
        }
        let ready = ready.iter().map(|ready| !ready.revents().is_empty()).collect::<Vec<_>>();
        for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
            // Accepted and closed: only that it came about is of interest.
            while listener.accept().is_ok() {}
        }
    }
    Ok(())
}

/// Connects and resets, so that neither end remembers the connection.
fn connect_until(
    end: Instant,
    next: &AtomicU32,
    pair: impl Fn(u32) -> (SocketAddrV4, SocketAddrV4),
) -> Result<(u64, u64)> {
    let (mut made, mut failed) = (0, 0);
    while Instant::now() < end {
        let (from, to) = pair(next.fetch_add(1, Ordering::Relaxed));
        let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        set_socket_linger(&client, Some(Duration::ZERO))?;
        // Bounds the time of `connect` as well (socket(7)).
        set_socket_timeout(&client, Timeout::Send, Some(PATIENCE))?;
        bind(&client, &SocketAddr::V4(from)).with_context(|| format!("binding to {from}"))?;
        match connect(&client, &SocketAddr::V4(to)) {
            Ok(()) => made += 1,
            Err(_) => failed += 1,
        }
    }
    Ok((made, failed))
}
