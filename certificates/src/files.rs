//! A certificate in files, read again when they change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Certificate, Current};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Files {
    /// What is in them.
    pub fn read(&self) -> Result<Certificate> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("reading the certificate {certificate}"))?;
        let private = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("reading the private key {key}"))?;
        Certificate::new(chain, private).with_context(|| format!("using {certificate} with {key}"))
    }

    /// Reads them again when they change, for ever; what cannot be read leaves the old certificate
    /// in use.
    pub async fn follow(&self, current: &Current) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.changed();
            if now == seen {
                continue;
            }
            seen = now;
            match self.read() {
                Ok(read) => {
                    tracing::info!(sha256 = read.fingerprint(), "the certificate has changed");
                    current.set(read);
                }
                Err(error) => {
                    tracing::error!("the old certificate stays in use: {error:#}");
                    current.keep_for(&error);
                }
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok())
    }
}
