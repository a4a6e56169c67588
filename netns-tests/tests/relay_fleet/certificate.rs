//! A relay is known by the fingerprint that it logged.

use std::sync::Arc;

use proto::relay::ALPN;
use quinn::crypto::rustls::QuicClientConfig;

/// How a node speaks with the relay of this fingerprint.
pub(crate) fn config(fingerprint: &str) -> quinn::ClientConfig {
    let mut config = tls_trust::pinned(&[fingerprint.to_owned()]).expect("TLS 1.3");
    config.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(config).expect("a configuration for QUIC");
    quinn::ClientConfig::new(Arc::new(crypto))
}
