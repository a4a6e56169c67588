//! Whom a node takes for a relay: by the fingerprints that the control plane names, or by the host's
//! authorities.

use std::sync::Arc;

use anyhow::Context as _;
use proto::relay::ALPN;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Certificates by their SHA-256.
#[derive(Debug)]
struct Pinned {
    fingerprints: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = hex::encode(digest(&SHA256, certificate));
        if self.fingerprints.iter().any(|good| good.eq_ignore_ascii_case(&found)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!("its certificate {found} is none that the control plane named")))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("relays speak TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// TLS with a relay that has one of these certificates; if there are none, one of an authority's.
pub(super) fn tls(fingerprints: &[String], alpn: bool) -> anyhow::Result<ClientConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("no TLS 1.3")?;
    let mut config = if fingerprints.is_empty() {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let pinned = Pinned { fingerprints: fingerprints.to_vec(), algorithms };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
        builder.with_no_client_auth()
    };
    if alpn {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(config)
}
