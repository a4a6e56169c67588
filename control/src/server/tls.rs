//! The server's certificate: from files, read again when they change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificate in use.
#[derive(Clone)]
pub(super) struct Identity {
    files: Files,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Identity {
    pub(super) fn load(files: &Files) -> Result<Self> {
        let current = Arc::new(Current(RwLock::new(Arc::new(files.read()?))));
        Ok(Self { files: files.clone(), current })
    }

    pub(super) fn config(&self) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .context("offering TLS")?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Files {
    fn read(&self) -> Result<CertifiedKey> {
        let (certificate, key) = (&self.certificate, &self.key);
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("reading the certificate {}", certificate.display()))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("reading the private key {}", key.display()))?;
        CertifiedKey::from_der(chain, private, &provider()).with_context(|| {
            format!("{} and {} do not belong together", certificate.display(), key.display())
        })
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok())
    }
}

/// Reads files again when they change; what cannot be read leaves the old certificate in use.
pub(super) async fn reload(identity: Identity) {
    let mut seen = identity.files.changed();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = identity.files.changed();
        if now == seen {
            continue;
        }
        seen = now;
        match identity.files.read() {
            Ok(key) => {
                *identity.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!("the certificate has changed and is in use");
            }
            Err(error) => tracing::error!("the old certificate stays in use: {error:#}"),
        }
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}
