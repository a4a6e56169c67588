//! Whether somebody else answers in place of the world: a portal that wants a log-in first.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest head of an answer.
const HEAD: usize = 8 << 10;
/// "Network authentication required" (RFC 6585).
const LOG_IN: u16 = 511;

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Portal {
    /// The control plane has answered by its own certificate.
    No,
    /// Something sends elsewhere who asks the control plane's host by HTTP, or says that a log-in is needed.
    Yes(Option<String>),
    /// Nothing answers, or what may be that host itself.
    Unknown,
}

/// Asks the control plane's host by plain HTTP.
pub(super) async fn look(host: &str) -> Portal {
    let head = timeout(PATIENCE, ask(host)).await;
    head.ok().and_then(Result::ok).map_or(Portal::Unknown, |head| judge(&head, host))
}

async fn ask(host: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((host, 80)).await?;
    let named = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let request = format!("GET / HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(HEAD as u64).read_to_end(&mut head).await?;
    Ok(head)
}

fn judge(head: &[u8], host: &str) -> Portal {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    // A body may be cut; what matters stands before.
    let whole = response.parse(head).is_ok_and(|status| status.is_complete());
    let Some(code) = response.code.filter(|_| whole) else { return Portal::Unknown };
    let location =
        response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"));
    let location = location.and_then(|header| std::str::from_utf8(header.value).ok());
    let elsewhere = location.filter(|to| to.contains("://") && host_of(to) != Some(host));
    match code {
        LOG_IN => Portal::Yes(location.map(printable)),
        300..=399 if elsewhere.is_some() => Portal::Yes(elsewhere.map(printable)),
        _ => Portal::Unknown,
    }
}

/// For a terminal: a stranger has written it.
fn printable(text: &str) -> String {
    text.chars().filter(|char| char.is_ascii_graphic()).take(200).collect()
}

/// The host of an address with a scheme, without its port.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((v6, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return Some(v6);
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(head: &str) -> Portal {
        judge(head.as_bytes(), "control.test")
    }

    #[test]
    fn a_portal_is_what_sends_elsewhere_or_wants_a_log_in() {
        let portal = "HTTP/1.1 302 Found\r\nLocation: http://login.test/\x1b[2J?a\r\n\r\n<html>";
        assert_eq!(of(portal), Portal::Unknown, "it is no header");
        let portal = "HTTP/1.1 302 Found\r\nlocation: http://login.test:81/?a\r\n\r\n<html>";
        assert_eq!(of(portal), Portal::Yes(Some("http://login.test:81/?a".to_owned())));
        assert_eq!(of("HTTP/1.1 511 Log in\r\n\r\n"), Portal::Yes(None));
        for own in [
            "HTTP/1.1 301 Moved\r\nLocation: https://control.test/\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nLocation: https://control.test:8443/x\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "SSH-2.0-x\r\n",
            "",
        ] {
            assert_eq!(of(own), Portal::Unknown, "{own:?}");
        }
    }

    #[test]
    fn the_host_of_an_address_is_found() {
        assert_eq!(host_of("https://control.test:8443/x"), Some("control.test"));
        assert_eq!(host_of("https://[2001:db8::1]:8443"), Some("2001:db8::1"));
        assert_eq!(host_of("http://who@a.test?b"), Some("a.test"));
        assert_eq!(host_of("a.test"), None);
        assert_eq!(host_of("http://"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes: Vec<u8>, url: String) {
            let answer = [b"HTTP/1.1 302 Found\r\nLocation: ", &bytes[..]].concat();
            judge(&bytes, "control.test");
            judge(&answer, &url);
            host_of(&url);
        }
    }
}
