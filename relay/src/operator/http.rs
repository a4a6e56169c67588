//! One question over plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long the relay may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const LONGEST: u64 = 1 << 20;

/// What was answered.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: String,
}

/// Asks the relay whose admin address is `url`.
pub(crate) fn ask(url: &str, method: &str, path: &str) -> Result<Answer> {
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    ensure!(!url.starts_with("https://"), "{url}: the admin address speaks http, not https");
    let address = host
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("{url} is no http://ADDRESS:PORT"))?;
    let unreachable =
        || format!("no relay answers on {url}: is it running, and is `admin` that address there?");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(unreachable)?;
    let mut answer = Vec::new();
    // The relay closes after its answer.
    stream.take(LONGEST).read_to_end(&mut answer).with_context(unreachable)?;
    read(&answer).with_context(|| format!("{url} did not answer as a relay does"))
}

fn read(answer: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).ok()? else { return None };
    let body = String::from_utf8(answer[head..].to_vec()).ok()?;
    Some(Answer { code: response.code?, body })
}
