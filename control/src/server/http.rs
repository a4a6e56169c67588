//! Connections: TLS, HTTP/1.1 and HTTP/2, with limits on what a stranger can make wait.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::tls::Tls;
use crate::core::lockout::Source;
use crate::peer::Connection;
use crate::problem::Problem;

/// Connections at one time.
const CONNECTIONS: usize = 65_536;
/// Of them, those from one source, unless it is a proxy.
const FROM_ONE: usize = 1_024;
/// What is read before it is known which HTTP is spoken.
const FIRST: usize = 32;
/// Requests of one HTTP/2 connection at one time.
const STREAMS: u32 = 64;

/// How long others may make it wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a TLS handshake, for the first byte after it, and for the head of a request.
    pub head: Duration,
    /// For a request, until its answer begins.
    pub request: Duration,
    /// For what was sent to be acknowledged.
    pub unacknowledged: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            request: Duration::from_secs(30),
            unacknowledged: Duration::from_secs(40),
        }
    }
}

/// Serves connections.
pub(super) struct Http {
    accepting: JoinHandle<()>,
    graceful: Arc<Mutex<Option<GracefulShutdown>>>,
    stop: watch::Sender<bool>,
}

#[derive(Clone)]
struct Door {
    router: Arc<Router>,
    tls: Option<Arc<Tls>>,
    behind_proxy: bool,
    patience: Patience,
    sources: Arc<Mutex<HashMap<Source, usize>>>,
}

/// One connection of a source.
struct Counted {
    sources: Arc<Mutex<HashMap<Source, usize>>>,
    source: Source,
}

impl Http {
    pub(super) fn start(
        listener: TcpListener,
        tls: Option<Tls>,
        (behind_proxy, patience): (bool, Patience),
        router: Arc<Router>,
    ) -> Self {
        let graceful = Arc::new(Mutex::new(Some(GracefulShutdown::new())));
        let stop = watch::Sender::new(false);
        let (tls, sources) = (tls.map(Arc::new), Arc::default());
        let door = Door { router, tls, behind_proxy, patience, sources };
        let accepting = tokio::spawn(accept(listener, door, graceful.clone(), stop.subscribe()));
        Self { accepting, graceful, stop }
    }

    /// Takes no more connections, and waits for those that are there.
    pub(super) async fn drain(self, within: Duration) {
        self.stop.send_replace(true);
        // It ended because it was told.
        let _ = self.accepting.await;
        let graceful = lock(&self.graceful).take();
        if let Some(graceful) = graceful
            && timeout(within, graceful.shutdown()).await.is_err()
        {
            tracing::info!("some connections were cut");
        }
    }
}

async fn accept(
    listener: TcpListener,
    door: Door,
    graceful: Arc<Mutex<Option<GracefulShutdown>>>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Who comes when all places are taken waits in the listener's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(counted) = door.count(address.ip().into()) else { continue };
                let (door, graceful) = (door.clone(), graceful.clone());
                tokio::spawn(async move {
                    serve(stream, address, door, &graceful).await;
                    drop((place, counted));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "taking a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Door {
    /// Counts a connection; nothing if its source has too many.
    fn count(&self, source: Source) -> Option<Counted> {
        let mut sources = lock(&self.sources);
        let count = sources.entry(source).or_default();
        if *count >= FROM_ONE && !self.behind_proxy {
            return None;
        }
        *count += 1;
        Some(Counted { sources: self.sources.clone(), source })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sources = lock(&self.sources);
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    door: Door,
    graceful: &Mutex<Option<GracefulShutdown>>,
) {
    let Patience { head, request: longest, unacknowledged } = door.patience;
    let connection = Connection { address, is_proxy: door.behind_proxy };
    // A node that is gone without a word is noticed.
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_user_timeout(Some(unacknowledged));
    let _ = stream.set_nodelay(true);
    let router = door.router;
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(connection);
            let answer = timeout(longest, Router::clone(&router).oneshot(request)).await;
            Ok::<_, std::convert::Infallible>(match answer {
                Ok(Ok(response)) => response,
                Err(_) => Problem::unavailable("the request took too long").into_response(),
            })
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(unacknowledged / 2))
        .keep_alive_timeout(unacknowledged / 2)
        .max_concurrent_streams(STREAMS);
    let watcher = lock(graceful).as_ref().map(GracefulShutdown::watcher);
    let Some(watcher) = watcher else { return };
    let result = match door.tls {
        Some(tls) => {
            let Ok(Some(stream)) = timeout(head, tls.accept(stream)).await else { return };
            let Some(stream) = begun(stream, head).await else { return };
            let served = builder.serve_connection(TokioIo::new(stream), service);
            watcher.watch(served.into_owned()).await
        }
        None => {
            let Some(stream) = begun(stream, head).await else { return };
            let served = builder.serve_connection(TokioIo::new(stream), service);
            watcher.watch(served.into_owned()).await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %address, "a connection ended");
    }
}

/// Waits for the first byte: whoever looks at it, to tell the versions of HTTP apart, waits for ever.
async fn begun<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    patience: Duration,
) -> Option<BufReader<S>> {
    let mut stream = BufReader::with_capacity(FIRST, stream);
    let first = timeout(patience, stream.fill_buf()).await;
    let has_begun = first.is_ok_and(|read| read.is_ok_and(|bytes| !bytes.is_empty()));
    has_begun.then_some(stream)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
