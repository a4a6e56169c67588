//! The page for operators: `/metrics`, `/healthz`, `/status`, and `/drain`, over plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use certificates::Current;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::admission::Door;
use super::certificate_age::Age;
use super::control::ControlLine;
use super::metrics::Snapshot;

/// Questions at one time.
const AT_ONCE: usize = 32;
/// How long one may take.
const TIME: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEAD: usize = 8 << 10;
const TEXT: &str = "text/plain; charset=utf-8";

/// What is shown, and what an operator may change.
pub(super) struct Page {
    pub(super) door: Arc<Door>,
    pub(super) certificate: Arc<Current>,
    /// How the line to the control plane is, if there is to be one.
    pub(super) control: Option<ControlLine>,
    /// How long a drain takes that is asked for here.
    pub(super) drain_time: Duration,
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, page: Page) {
    let page = Arc::new(page);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Who comes when all places are taken waits in the listener's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    // Late or gone: nobody to tell.
                    let _ = timeout(TIME, answer(stream, &page)).await;
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

async fn answer(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut head = BytesMut::with_capacity(1024);
    let (path, may_change) = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD {
            return Ok(());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                // A page in an operator's browser may send a POST here; it cannot hide that it is one.
                let by_page = request.headers.iter().any(|h| h.name.eq_ignore_ascii_case("origin"));
                let may_change = request.method == Some("POST") && !by_page;
                break (request.path.unwrap_or("").to_owned(), may_change);
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(()),
        }
    };
    let (status, kind, body) = match (&*path, may_change) {
        ("/drain", true) => {
            page.door.hub.drain(page.drain_time).await;
            ("202 Accepted", TEXT, format!("{}\n", page.drain_time.as_millis()))
        }
        ("/drain", false) => ("405 Method Not Allowed", TEXT, "POST, not by a page\n".to_owned()),
        _ => page.show(&path).await,
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

impl Page {
    async fn show(&self, path: &str) -> (&'static str, &'static str, String) {
        const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        if !["/healthz", "/status", "/metrics"].contains(&path) {
            return (
                "404 Not Found",
                TEXT,
                "/healthz, /metrics, /status, POST /drain\n".to_owned(),
            );
        }
        let Ok(report) = self.door.hub.report().await else {
            return ("503 Service Unavailable", TEXT, "the relay has ended\n".to_owned());
        };
        let draining = report.totals.draining;
        let snapshot = Snapshot {
            report,
            turned: self.door.tally.turned(),
            certificate: self.certificate.report(),
            control: self.control.as_ref().map(ControlLine::trouble),
        };
        match path {
            "/healthz" if draining => {
                ("503 Service Unavailable", TEXT, "the relay is going away\n".to_owned())
            }
            "/healthz" if snapshot.certificate.current.is_none() => (
                "503 Service Unavailable",
                TEXT,
                "there is no certificate yet: see /status\n".to_owned(),
            ),
            "/healthz" if self.certificate.get().is_some_and(|is| Age::of(&is) == Age::Expired) => {
                (
                    "503 Service Unavailable",
                    TEXT,
                    "the certificate has expired: see /status\n".to_owned(),
                )
            }
            "/healthz" => ("200 OK", TEXT, "ok\n".to_owned()),
            "/status" => ("200 OK", "application/json", snapshot.to_json()),
            _ => match snapshot.into_prometheus() {
                Ok(text) => ("200 OK", METRICS, text),
                Err(error) => ("500 Internal Server Error", TEXT, format!("{error:#}\n")),
            },
        }
    }
}
