//! tokio for quinn, such that an idle client keeps no room for what it never sends.
//!
//! A connection of quinn keeps the buffer of its largest send, and room for all segments of one is
//! made as soon as two leave together: at the end of the handshake, 12 KB. A young connection
//! therefore sends datagrams one by one; one that has packets to carry makes the room later.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

/// More than handshake and admission take.
const YOUTH: Duration = Duration::from_secs(3);

thread_local! {
    /// Whether this thread polls a young connection.
    static YOUNG: Cell<bool> = const { Cell::new(false) };
}

/// tokio, with young connections known.
#[derive(Debug)]
pub(super) struct QuicRuntime;

/// What drives a connection.
struct Driver {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    young_until: Option<Instant>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.young_until = self.young_until.filter(|until| Instant::now() < *until);
        YOUNG.set(self.young_until.is_some());
        let result = self.future.as_mut().poll(cx);
        YOUNG.set(false);
        result
    }
}

impl Runtime for QuicRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(Driver { future, young_until: Some(Instant::now() + YOUTH) });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket).map(|socket| Arc::new(Socket(socket)) as _)
    }
}

/// tokio's socket.
struct Socket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Socket {
    fn max_transmit_segments(&self) -> usize {
        if YOUNG.get() { 1 } else { self.0.max_transmit_segments() }
    }

    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
