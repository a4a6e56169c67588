//! Whom a node takes for a relay: by the fingerprints that the control plane names, or by the host's
//! authorities.

use std::sync::Arc;

use anyhow::Context as _;
use proto::relay::ALPN;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};

/// TLS with a relay that has one of these certificates; if there are none, one of an authority's.
pub(super) fn tls(fingerprints: &[String], alpn: bool) -> anyhow::Result<ClientConfig> {
    let mut config = if fingerprints.is_empty() {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("no TLS 1.3")?
            .with_root_certificates(roots)
            .with_no_client_auth()
    } else {
        tls_trust::pinned(fingerprints).context("no TLS 1.3")?
    };
    if alpn {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(config)
}
