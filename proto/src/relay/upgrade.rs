//! The HTTP/1.1 request by which a node on TLS asks for the relay's protocol.

use super::{UPGRADE, UPGRADE_PATH};

/// The longest head of a request.
const LONGEST: usize = 4 << 10;
/// The most headers of a request.
const MOST_HEADERS: usize = 32;

/// The request of a node to the relay that has this name.
#[must_use]
pub fn upgrade_request(host: &str) -> String {
    format!(
        "GET {UPGRADE_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: {UPGRADE}\r\n\r\n"
    )
}

/// What a request's head is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It may become one.
    Partial,
    /// It is none, or too long.
    Malformed,
    /// Whether it asks for the relay's protocol.
    Whole(bool),
}

impl Head {
    /// Reads what has come so far.
    #[must_use]
    pub fn parse(head: &[u8]) -> Self {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            _ if head.len() > LONGEST => Self::Malformed,
            Err(_) => Self::Malformed,
            Ok(httparse::Status::Partial) => Self::Partial,
            // A node waits for the answer before it says more.
            Ok(httparse::Status::Complete(len)) if len != head.len() => Self::Malformed,
            Ok(httparse::Status::Complete(_)) => {
                let upgrade = request.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case("upgrade")
                        && header.value.eq_ignore_ascii_case(UPGRADE.as_bytes())
                });
                let here = request.path == Some(UPGRADE_PATH) && request.method == Some("GET");
                Self::Whole(upgrade && here)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RIGHT: &str = "GET /relay HTTP/1.1\r\nHost: r\r\nUpgrade: Nearwire-Relay/1\r\n\r\n";

    #[test]
    fn only_our_upgrade_is_one() {
        let whole = |text: &str| Head::parse(text.as_bytes());
        assert_eq!(whole(RIGHT), Head::Whole(true));
        assert_eq!(whole(&upgrade_request("relay.test")), Head::Whole(true));
        assert_eq!(whole(&RIGHT.replace("/relay", "/")), Head::Whole(false));
        assert_eq!(whole(&RIGHT.replace("GET", "POST")), Head::Whole(false));
        assert_eq!(whole(&RIGHT.replace("Relay/1", "Relay/2")), Head::Whole(false));
        assert_eq!(whole("GET / HTTP/1.1\r\n\r\n"), Head::Whole(false));
        assert_eq!(whole(&format!("{RIGHT}x")), Head::Malformed);
        assert_eq!(whole("\x16\x03\x01"), Head::Malformed);
        for len in 0..RIGHT.len() {
            assert_eq!(whole(&RIGHT[..len]), Head::Partial);
        }
        let long = RIGHT.replace("Host: r", &format!("Host: {}", "r".repeat(LONGEST)));
        assert_eq!(whole(&long), Head::Malformed);
        assert_eq!(whole(&RIGHT.replace("Host: r\r\n", &"A: b\r\n".repeat(40))), Head::Malformed);
    }

    proptest! {
        /// What is wrong stays wrong: nobody is waited for in vain.
        #[test]
        fn more_bytes_mend_nothing(
            head in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "(GET|PUT) /[a-z]{0,5} HTTP/1\\.[01]\r\n([A-Z][a-z]{0,9}: [ -~]{0,9}\r\n){0,4}\r\n"
                    .prop_map(String::into_bytes),
            ],
            more in proptest::collection::vec(any::<u8>(), 1..50),
        ) {
            let before = Head::parse(&head);
            if before != Head::Partial {
                let longer = [head, more].concat();
                prop_assert_eq!(Head::parse(&longer), Head::Malformed);
            }
        }
    }
}
