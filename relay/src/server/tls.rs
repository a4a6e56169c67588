//! TLS: where the certificate comes from, and how it is offered on TCP and QUIC.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use certificates::acme::{self, Acme, Directory};
use certificates::{ACME_TLS, Certificate, Current, Files, provider};
use proto::relay::ALPN;
use rustls::ServerConfig;

use super::certificate_age;

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// From files.
    Files(Files),
    /// From a certificate authority.
    Acme {
        /// Which, and for which names.
        acme: Acme,
        /// Where account and certificates are kept.
        state: PathBuf,
    },
    /// Made at the start, for these names.
    SelfSigned(Vec<String>),
}

/// The relay's certificate and its source.
pub(super) struct Identity {
    pub(super) current: Arc<Current>,
    source: Source,
}

/// What keeps the certificate good.
enum Source {
    Files(Files),
    Acme(Acme, Directory),
    Nothing,
}

impl Identity {
    /// What is there already; a certificate authority is asked later, by [`Self::keep`].
    pub(super) async fn load(source: &IdentitySource) -> Result<Self> {
        let current = Arc::new(Current::default());
        let (there, source) = match source {
            IdentitySource::Files(files) => (Some(files.read()?), Source::Files(files.clone())),
            IdentitySource::Acme { acme, state } => {
                let directory = Directory::new(state, acme, current.clone());
                acme::prepare(acme, &directory).await?;
                (acme::load(&directory).await?, Source::Acme(acme.clone(), directory))
            }
            IdentitySource::SelfSigned(names) => {
                let made = Certificate::self_signed(names)
                    .context("making a certificate for the names in `self-signed`")?;
                (Some(made), Source::Nothing)
            }
        };
        if let Some(there) = there {
            current.set(there);
        }
        Ok(Self { current, source })
    }

    /// Makes the place where certificates are kept, if they are and it is not there.
    pub(super) fn make_place(&self) -> Result<()> {
        match &self.source {
            Source::Acme(_, directory) => directory.make(),
            Source::Files(_) | Source::Nothing => Ok(()),
        }
    }

    /// The SHA-256 of the certificate, if there is one.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.current.get().map(|certificate| certificate.fingerprint())
    }

    /// For TLS on TCP, behind which HTTP is spoken.
    pub(super) fn tcp_config(&self) -> Result<Arc<ServerConfig>> {
        let mut config = self.config(b"http/1.1")?;
        if matches!(self.source, Source::Acme(..)) {
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

    /// Keeps the certificate good, and says so when it is not, for ever.
    pub(super) async fn keep(self) {
        let replaced = async {
            match self.source {
                Source::Files(files) => files.follow(&self.current).await,
                Source::Acme(acme, directory) => acme::keep(&self.current, &acme, directory).await,
                Source::Nothing => {}
            }
        };
        tokio::join!(replaced, certificate_age::watch(&self.current));
    }
}
