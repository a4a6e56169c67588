//! The proof of a name: a certificate of it alone, with the digest that the authority expects.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::Zeroizing;

use crate::certificate::read_pem;
use crate::{ACME_TLS, provider};

/// See the module: key and certificate, as PEM.
pub struct Proof(Zeroizing<Vec<u8>>);

impl Proof {
    pub(super) fn new(name: &str, digest: &[u8]) -> Result<Self> {
        let key = rcgen::KeyPair::generate().context("making a key")?;
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()])
            .with_context(|| format!("writing {name} into a certificate"))?;
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
        let made = params.self_signed(&key).context("making the certificate of a proof")?;
        let private = Zeroizing::new(key.serialize_pem());
        let both = [private.as_bytes(), made.pem().as_bytes()].concat();
        Ok(Self(Zeroizing::new(both)))
    }

    /// One that was kept as [`Self::as_pem`].
    #[must_use]
    pub const fn from_pem(text: Zeroizing<Vec<u8>>) -> Self {
        Self(text)
    }

    /// To be kept, for our eyes only.
    #[must_use]
    pub fn as_pem(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn key(&self) -> Result<CertifiedKey> {
        let (chain, key) = read_pem(&self.0).context("reading a proof")?;
        let key = provider().key_provider.load_private_key(key).context("using a proof's key")?;
        // Not `from_der`: it takes no certificate with an extension that it does not know.
        Ok(CertifiedKey::new(chain, key))
    }

    /// For one handshake, in which the authority is shown the proof and nothing more is said.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let shown = SingleCertAndKey::from(self.key()?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .context("offering TLS")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_was_kept_is_the_same() {
        let proof = Proof::new("control.test", &[7; 32]).unwrap();
        let again = Proof::from_pem(Zeroizing::new(proof.as_pem().to_vec()));
        let [one, other] = [&proof, &again].map(|proof| proof.key().unwrap().cert);
        assert_eq!(one, other);
        assert!(one[0].windows(32).any(|bytes| bytes == [7; 32]), "the digest is in it");
        assert!(again.server_config().is_ok());
        assert!(Proof::from_pem(Zeroizing::new(b"nothing".to_vec())).server_config().is_err());
    }
}
