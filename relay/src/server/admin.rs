//! The page for operators: `/metrics`, `/healthz`, `/status`, over plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::admission::Door;
use super::certificate::Current;
use super::metrics::Snapshot;

/// Questions at one time.
const AT_ONCE: usize = 32;
/// How long one may take.
const TIME: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEAD: usize = 8 << 10;

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, door: Arc<Door>, current: Arc<Current>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Who comes when all places are taken waits in the listener's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (door, current) = (door.clone(), current.clone());
                tokio::spawn(async move {
                    // Late or gone: nobody to tell.
                    let _ = timeout(TIME, answer(stream, &door, &current)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "taking a connection on the admin address failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, door: &Door, current: &Current) -> std::io::Result<()> {
    let mut head = BytesMut::with_capacity(1024);
    let path = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD {
            return Ok(());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => break request.path.unwrap_or("").to_owned(),
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(()),
        }
    };
    let (status, kind, body) = page(&path, door, current).await;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn page(path: &str, door: &Door, current: &Current) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if !["/healthz", "/status", "/metrics"].contains(&path) {
        return ("404 Not Found", TEXT, "/healthz, /metrics, /status\n".to_owned());
    }
    let Ok(report) = door.hub.report().await else {
        return ("503 Service Unavailable", TEXT, "the relay has ended\n".to_owned());
    };
    let draining = report.totals.draining;
    let snapshot = Snapshot { report, turned: door.turned(), certificate: current.report() };
    match path {
        "/healthz" if draining => {
            ("503 Service Unavailable", TEXT, "the relay is going away\n".to_owned())
        }
        "/healthz" if snapshot.certificate.current.is_none() => (
            "503 Service Unavailable",
            TEXT,
            "there is no certificate yet: see /status\n".to_owned(),
        ),
        "/healthz" => ("200 OK", TEXT, "ok\n".to_owned()),
        "/status" => ("200 OK", "application/json", snapshot.to_json()),
        _ => match snapshot.into_prometheus() {
            Ok(text) => ("200 OK", METRICS, text),
            Err(error) => ("500 Internal Server Error", TEXT, format!("{error:#}\n")),
        },
    }
}
