//! Which certificates are believed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::ClientError;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often an idle connection is tried.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Which certificates are believed.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the host's authorities signed.
    #[default]
    Host,
    /// Those that the certificates of this file signed, or that are in it.
    File(PathBuf),
}

impl Trust {
    fn roots(&self) -> Result<RootCertStore, ClientError> {
        let mut roots = RootCertStore::empty();
        let wrong = |reason: String| ClientError::Configuration(reason);
        match self {
            Self::Host => {
                // A certificate of the host's that cannot be read is no reason to trust nobody.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::File(path) => {
                let unreadable = |error: &dyn std::fmt::Display| {
                    wrong(format!("reading the certificates {}: {error}", path.display()))
                };
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
                if roots.is_empty() {
                    return Err(unreadable(&"there are none in it"));
                }
            }
        }
        Ok(roots)
    }

    fn config(&self) -> Result<ClientConfig, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Configuration(error.to_string()))?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// HTTP with this trust. Answers are not bounded in time: streams are such.
pub fn http_client(trust: &Trust) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust.config()?)
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_while_idle(true)
        .user_agent(concat!("nearwire/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ClientError::Configuration(error.to_string()))
}
