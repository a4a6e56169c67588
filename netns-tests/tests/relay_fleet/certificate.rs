//! A relay is known by the fingerprint that it logged.

use std::sync::Arc;

use proto::relay::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use tokio_rustls::TlsConnector;

/// How a node speaks QUIC with the relay of this fingerprint.
pub(crate) fn quic(fingerprint: &str) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(config(fingerprint, ALPN));
    quinn::ClientConfig::new(Arc::new(crypto.expect("a configuration for QUIC")))
}

/// How it speaks TLS over TCP.
pub(crate) fn tls(fingerprint: &str) -> TlsConnector {
    Arc::new(config(fingerprint, b"http/1.1")).into()
}

fn config(fingerprint: &str, alpn: &[u8]) -> rustls::ClientConfig {
    let mut config = tls_trust::pinned(&[fingerprint.to_owned()]).expect("TLS 1.3");
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}
