//! The certificate in use: what handshakes are given, and what operators should know of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use proto::ticket::UnixSeconds;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{Certificate, asks_for_proof};

/// What every handshake asks.
#[derive(Debug, Default)]
pub struct Current {
    certificate: RwLock<Option<Certificate>>,
    /// By name, while an authority looks.
    proofs: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    trouble: RwLock<Option<String>>,
    failures: AtomicU64,
}

/// What operators are shown.
#[derive(Clone, Debug)]
pub struct Report {
    /// The SHA-256 of the certificate and its last second, if there is one.
    pub current: Option<(String, UnixSeconds)>,
    /// Why the last attempt to replace it failed, if it did.
    pub trouble: Option<String>,
    /// How many attempts have failed.
    pub failures: u64,
}

impl Current {
    /// The certificate, if there is one yet.
    pub fn get(&self) -> Option<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Given from the next handshake on.
    pub fn set(&self, certificate: Certificate) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The old one stays, and operators are told why.
    pub fn keep_for(&self, trouble: &anyhow::Error) {
        let said = Some(format!("{trouble:#}"));
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = said;
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows the proof of a name to an authority; without one there is nothing to be seen any more.
    pub(crate) fn show(&self, name: &str, proof: Option<Arc<CertifiedKey>>) {
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        match proof {
            Some(key) => proofs.insert(name.to_owned(), key),
            None => proofs.remove(name),
        };
    }

    /// What operators are shown.
    pub fn report(&self) -> Report {
        let current = self.get();
        Report {
            current: current.map(|current| (current.fingerprint(), current.not_after())),
            trouble: self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone(),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if asks_for_proof(&hello) {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner);
            return proofs.get(hello.server_name()?).cloned();
        }
        self.get().map(Certificate::into_key)
    }
}
