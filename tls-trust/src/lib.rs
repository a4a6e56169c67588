//! TLS with relays, for which no authority vouches: who the other end is, is known by a fingerprint,
//! or proven after TLS. TLS 1.3 only.

#![forbid(unsafe_code)]

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// Takes whoever has a certificate with one of these SHA-256 fingerprints, in hexadecimal.
///
/// # Errors
///
/// When rustls does not speak TLS 1.3.
pub fn pinned(fingerprints: &[String]) -> Result<ClientConfig, Error> {
    client(Trust::Fingerprints(fingerprints.to_vec()))
}

/// Takes anybody who has the key of the certificate that they show: for those who are proven by what
/// they say of this very TLS session.
///
/// # Errors
///
/// As [`pinned`].
pub fn anybody() -> Result<ClientConfig, Error> {
    client(Trust::Anybody)
}

fn client(trust: Trust) -> Result<ClientConfig, Error> {
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { trust, algorithms }))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
enum Trust {
    Fingerprints(Vec<String>),
    Anybody,
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Fingerprints(good) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let found = hex::encode(digest(&SHA256, certificate));
        if good.iter().any(|good| good.eq_ignore_ascii_case(&found)) {
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
