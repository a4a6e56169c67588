//! TLS: where the certificate comes from, and how it is offered on TCP and QUIC.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use proto::relay::ALPN;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::acme::{self, Acme};
use super::certificate::{ACME_TLS, Certificate, Current, provider};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// From files.
    Files {
        /// The certificate and its chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// From a certificate authority.
    Acme(Acme),
    /// Made at the start, for these names.
    SelfSigned(Vec<String>),
}

/// The relay's certificate and its source.
#[derive(Clone)]
pub(super) struct Identity {
    source: IdentitySource,
    pub(super) current: Arc<Current>,
}

impl Identity {
    /// What is there already; a certificate authority is asked later, by [`keep`].
    pub(super) fn load(source: &IdentitySource) -> Result<Self> {
        let current = Arc::new(Current::default());
        let there = match source {
            IdentitySource::Files { certificate, key } => Some(read(certificate, key)?),
            IdentitySource::Acme(acme) => acme::load(acme)?,
            IdentitySource::SelfSigned(names) => Some(make(names)?),
        };
        if let Some(there) = there {
            current.set(there);
        }
        Ok(Self { source: source.clone(), current })
    }

    /// The SHA-256 of the certificate, if there is one.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.current.get().map(|certificate| certificate.fingerprint())
    }

    /// For TLS on TCP, behind which HTTP is spoken.
    pub(super) fn tcp_config(&self) -> Result<Arc<ServerConfig>> {
        let mut config = self.config(b"http/1.1")?;
        if matches!(self.source, IdentitySource::Acme(_)) {
            config.alpn_protocols.push(ACME_TLS.to_vec());
        }
        Ok(Arc::new(config))
    }

    /// For QUIC.
    pub(super) fn quic_config(&self) -> Result<ServerConfig> {
        self.config(ALPN)
    }

    fn config(&self, alpn: &[u8]) -> Result<ServerConfig> {
        // Only 1.3: its exporter is bound to the whole handshake.
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("offering TLS 1.3")?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        // Nobody resumes: an admission costs more than a handshake.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }
}

/// Keeps the certificate good, for ever.
pub(super) async fn keep(identity: Identity) {
    match &identity.source {
        IdentitySource::Files { certificate, key } => {
            reload(&identity.current, certificate, key).await;
        }
        IdentitySource::Acme(acme) => acme::keep(&identity.current, acme).await,
        IdentitySource::SelfSigned(_) => {}
    }
}

/// Reads files again when they change; what cannot be read leaves the old certificate in use.
async fn reload(current: &Current, certificate: &Path, key: &Path) {
    let mut seen = changed(certificate, key);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = changed(certificate, key);
        if now != seen {
            seen = now;
            match read(certificate, key) {
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
}

fn changed(certificate: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [certificate, key].map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok())
}

fn read(certificate: &Path, key: &Path) -> Result<Certificate> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading the certificate {}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("reading the private key {}", key.display()))?;
    Certificate::new(chain, private)
        .with_context(|| format!("using {} with {}", certificate.display(), key.display()))
}

fn make(names: &[String]) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(names.to_vec())
        .context("making a certificate for the names in `self-signed`")?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Certificate::new(vec![made.cert.der().clone()], key.into())
}
