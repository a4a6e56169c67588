//! The certificate of a server: read from files, got by ACME, or made at the start; what handshakes
//! are given, and how it is replaced while they go on.
#![forbid(unsafe_code)]

pub mod acme;
mod certificate;
mod current;
mod files;

use rustls::crypto::CryptoProvider;
use rustls::server::ClientHello;

pub use certificate::Certificate;
pub use current::{Current, Report};
pub use files::Files;

/// What a certificate authority offers, and only that, to see whether a name is ours (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The cryptography of all our TLS.
#[must_use]
pub fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Whether a certificate authority looks whether a name is ours.
#[must_use]
pub fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut all| all.next() == Some(ACME_TLS) && all.next().is_none())
}
