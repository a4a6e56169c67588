//! The certificate in use: what handshakes are given, and what operators should know of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, anyhow};
use proto::ticket::UnixSeconds;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

/// What a certificate authority offers, and only that, to see whether a name is ours (RFC 8737).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate that fits its key, and its time.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    key: Arc<CertifiedKey>,
    pub(super) not_before: UnixSeconds,
    pub(super) not_after: UnixSeconds,
}

/// What every handshake asks.
#[derive(Debug, Default)]
pub(super) struct Current {
    certificate: RwLock<Option<Certificate>>,
    /// By name, while an authority looks.
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    trouble: RwLock<Option<String>>,
    failures: AtomicU64,
}

/// What operators are shown.
pub(super) struct CertificateReport {
    /// The SHA-256 of the certificate and its last second, if there is one.
    pub(super) current: Option<(String, UnixSeconds)>,
    /// Why the last attempt to replace it failed, if it did.
    pub(super) trouble: Option<String>,
    /// How many attempts have failed.
    pub(super) failures: u64,
}

impl Certificate {
    /// A chain with its key; an error says that they do not fit.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self> {
        let first = chain.first().context("there is no certificate")?;
        let (_, parsed) = parse_x509_certificate(first)
            .map_err(|error| anyhow!("the certificate cannot be read: {error}"))?;
        let seconds = |time: i64| UnixSeconds(u64::try_from(time).unwrap_or(0));
        let not_before = seconds(parsed.validity().not_before.timestamp());
        let not_after = seconds(parsed.validity().not_after.timestamp());
        let key = CertifiedKey::from_der(chain, key, &provider())
            .context("certificate and private key do not belong together")?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }

    /// The SHA-256 of the certificate, in hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        let certificate = self.key.cert.first().map_or(&[][..], |certificate| certificate.as_ref());
        hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate))
    }
}

impl Current {
    pub(super) fn get(&self) -> Option<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Given from the next handshake on.
    pub(super) fn set(&self, certificate: Certificate) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The old one stays, and operators are told why.
    pub(super) fn keep_for(&self, trouble: &anyhow::Error) {
        let said = Some(format!("{trouble:#}"));
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = said;
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers for a name to an authority; without an answer it is not answered for any more.
    pub(super) fn answer(&self, name: &str, answer: Option<CertifiedKey>) {
        let mut challenges = self.challenges.write().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Some(key) => challenges.insert(name.to_owned(), Arc::new(key)),
            None => challenges.remove(name),
        };
    }

    pub(super) fn report(&self) -> CertificateReport {
        let current = self.get();
        CertificateReport {
            current: current.map(|current| (current.fingerprint(), current.not_after)),
            trouble: self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone(),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks = hello.alpn().is_some_and(|mut all| all.next() == Some(ACME_TLS));
        if asks {
            let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        self.get().map(|certificate| certificate.key)
    }
}

pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}
