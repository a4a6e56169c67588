//! A certificate that fits its key, and its time.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use proto::ticket::UnixSeconds;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use crate::provider;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl Certificate {
    /// A chain with its key; an error says that they do not fit.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self> {
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

    /// Key and chain in one text.
    pub fn from_pem(text: &[u8]) -> Result<Self> {
        let (chain, key) = read_pem(text)?;
        Self::new(chain, key)
    }

    /// Makes one for these names, for which nobody vouches.
    pub fn self_signed(names: &[String]) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(names.to_vec())?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(vec![made.cert.der().clone()], key.into())
    }

    /// Its first second.
    #[must_use]
    pub const fn not_before(&self) -> UnixSeconds {
        self.not_before
    }

    /// Its last second.
    #[must_use]
    pub const fn not_after(&self) -> UnixSeconds {
        self.not_after
    }

    /// The SHA-256 of the certificate, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let certificate = self.key.cert.first().map_or(&[][..], |certificate| certificate.as_ref());
        hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate))
    }

    pub(crate) fn into_key(self) -> Arc<CertifiedKey> {
        self.key
    }
}

/// A key and the chain of its certificate, of one text.
pub(crate) fn read_pem(
    text: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), pem::Error> {
    let key = PrivateKeyDer::from_pem_slice(text)?;
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()?;
    Ok((chain, key))
}
