//! The relay's certificate: from files, read again when they change, or made for development.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use proto::relay::ALPN;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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
    /// Made at the start, for these names.
    SelfSigned(Vec<String>),
}

/// The certificate in use.
#[derive(Clone)]
pub(super) struct Identity {
    source: IdentitySource,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Identity {
    pub(super) fn load(source: &IdentitySource) -> Result<Self> {
        let key = match source {
            IdentitySource::Files { certificate, key } => read(certificate, key)?,
            IdentitySource::SelfSigned(names) => make(names)?,
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(key))));
        Ok(Self { source: source.clone(), current })
    }

    /// Uses what the files hold from the next handshake on.
    fn replace(&self, certificate: &Path, key: &Path) -> Result<()> {
        let key = Arc::new(read(certificate, key)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }

    /// The SHA-256 of the certificate.
    pub(super) fn fingerprint(&self) -> String {
        let key = self.current.get();
        let certificate = key.cert.first().map_or(&[][..], |certificate| certificate.as_ref());
        hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate))
    }

    /// For TLS on TCP, behind which HTTP is spoken.
    pub(super) fn tcp_config(&self) -> Result<Arc<ServerConfig>> {
        self.config(b"http/1.1").map(Arc::new)
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
        Ok(config)
    }
}

/// Reads files again when they change; what cannot be read leaves the old certificate in use.
pub(super) async fn reload(identity: Identity) {
    let IdentitySource::Files { certificate, key } = &identity.source else {
        return;
    };
    let mut seen = changed(certificate, key);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = changed(certificate, key);
        if now != seen {
            seen = now;
            match identity.replace(certificate, key) {
                Ok(()) => tracing::info!("the certificate has changed and is in use"),
                Err(error) => tracing::error!("the old certificate stays in use: {error:#}"),
            }
        }
    }
}

fn changed(certificate: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [certificate, key].map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok())
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading the certificate {}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("reading the private key {}", key.display()))?;
    CertifiedKey::from_der(chain, private, &provider()).with_context(|| {
        format!("{} and {} do not belong together", certificate.display(), key.display())
    })
}

fn make(names: &[String]) -> Result<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(names.to_vec())
        .context("making a certificate for the names in `self-signed`")?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), &provider())
        .context("using the certificate that was made")
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_used_anew_only_if_they_are_good() {
        let directory = std::env::temp_dir().join(format!("relay-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(vec!["relay.test".to_owned()]).unwrap();
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        };
        write();
        let files = || IdentitySource::Files { certificate: certificate.clone(), key: key.clone() };
        let identity = Identity::load(&files()).unwrap();
        let first = identity.fingerprint();
        write();
        identity.replace(&certificate, &key).unwrap();
        let second = identity.fingerprint();
        assert_ne!(first, second);
        // A key without its certificate, as in the middle of a change.
        let before = std::fs::read(&certificate).unwrap();
        write();
        std::fs::write(&certificate, before).unwrap();
        let error = identity.replace(&certificate, &key).unwrap_err();
        assert!(format!("{error:#}").contains("do not belong together"), "{error:#}");
        std::fs::remove_file(&key).unwrap();
        let error = identity.replace(&certificate, &key).unwrap_err();
        assert!(format!("{error:#}").contains("reading the private key"), "{error:#}");
        assert_eq!(identity.fingerprint(), second);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
