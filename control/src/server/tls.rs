//! TLS: where the certificate comes from, and how it is offered.

use std::sync::Arc;

use anyhow::{Context, Result};
use certificates::acme::{self, Acme};
use certificates::{Current, Files, asks_for_proof, provider};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::acme::Shared;
use crate::app::App;

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// From files.
    Files(Files),
    /// From a certificate authority.
    Acme(Acme),
}

/// The server's certificate and its source.
pub(super) struct Identity {
    current: Arc<Current>,
    source: Source,
}

enum Source {
    Files(Files),
    Acme(Acme, Shared),
}

/// What accepts connections.
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    /// Where the proofs are that a certificate authority wants to see.
    proofs: Option<Shared>,
}

impl Identity {
    /// What is there already; a certificate authority is asked later, by [`Self::keep`].
    pub(super) async fn load(source: TlsSource, app: &App) -> Result<Self> {
        let current = Arc::new(Current::default());
        let (there, source) = match source {
            TlsSource::Files(files) => (Some(files.read()?), Source::Files(files)),
            TlsSource::Acme(acme) => {
                let shared = Shared::new(app.clone(), &acme);
                (acme::load(&shared).await?, Source::Acme(acme, shared))
            }
        };
        if let Some(there) = there {
            current.set(there);
        }
        Ok(Self { current, source })
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.clone()
    }

    pub(super) fn tls(&self) -> Result<Tls> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .context("offering TLS")?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proofs = match &self.source {
            Source::Files(_) => None,
            Source::Acme(_, shared) => Some(shared.clone()),
        };
        Ok(Tls { config: Arc::new(config), proofs })
    }

    /// Keeps the certificate good, for ever.
    pub(super) async fn keep(self) {
        match self.source {
            Source::Files(files) => files.follow(&self.current).await,
            Source::Acme(acme, shared) => acme::keep(&self.current, &acme, shared).await,
        }
    }
}

impl Tls {
    /// The connection, unless it fails or a certificate authority has seen what it wanted to see.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let accepted = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await;
        let started = accepted.ok()?;
        let asked = match &self.proofs {
            Some(proofs) if asks_for_proof(&started.client_hello()) => {
                let name = started.client_hello().server_name().map(str::to_owned);
                Some((proofs, name?))
            }
            _ => None,
        };
        let Some((proofs, name)) = asked else {
            return started.into_stream(self.config.clone()).await.ok();
        };
        let mut shown = started.into_stream(proofs.config_of_proof(&name).await?).await.ok()?;
        // It may be gone already.
        let _ = shown.shutdown().await;
        None
    }
}
