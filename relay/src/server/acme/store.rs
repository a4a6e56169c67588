//! What ACME keeps on disk: an account for each directory, a certificate for each set of names.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use instant_acme::AccountCredentials;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::Acme;
use crate::server::certificate::Certificate;

/// The files of one directory and one set of names.
pub(super) struct Store {
    account: PathBuf,
    certificate: PathBuf,
}

impl Store {
    /// Makes the directory if it is not there.
    pub(super) fn open(acme: &Acme) -> Result<Self> {
        let state = &acme.state;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state).with_context(|| {
            format!("making {} (`acme-state`): may we write there?", state.display())
        })?;
        // A name of its own for each: another directory or other names begin anew.
        let named = |what: &str, of: &str| {
            let digest = ring::digest::digest(&ring::digest::SHA256, of.as_bytes());
            state.join(format!("{what}-{}", &hex::encode(digest)[..16]))
        };
        let names = format!("{} {}", acme.directory, acme.names.join(" "));
        Ok(Self {
            account: named("account", &acme.directory).with_extension("json"),
            certificate: named("certificate", &names).with_extension("pem"),
        })
    }

    pub(super) fn account(&self) -> Result<Option<AccountCredentials>> {
        let Some(text) = read(&self.account)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!("{} is no account: remove it to make a new one", self.account.display())
        })
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<()> {
        let text = serde_json::to_vec(account).context("writing the account as JSON")?;
        write(&self.account, &Zeroizing::new(text))
    }

    /// The authority does not know the account any more.
    pub(super) fn forget_account(&self) -> Result<()> {
        fs::remove_file(&self.account)
            .with_context(|| format!("removing {}", self.account.display()))
    }

    pub(super) fn certificate(&self) -> Result<Option<Certificate>> {
        let Some(pem) = read(&self.certificate)? else { return Ok(None) };
        let of_pem = || {
            let key = PrivateKeyDer::from_pem_slice(&pem)?;
            let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, rustls::pki_types::pem::Error>((chain, key))
        };
        let (chain, key) = of_pem().with_context(|| {
            format!("{} is no certificate: remove it to get one", self.certificate.display())
        })?;
        Certificate::new(chain, key)
            .with_context(|| format!("using {}", self.certificate.display()))
            .map(Some)
    }

    /// Key and chain in one file, so that they always belong together.
    pub(super) fn keep_certificate(&self, key: &str, chain: &str) -> Result<()> {
        write(&self.certificate, &Zeroizing::new([key, chain].concat().into_bytes()))
    }
}

fn read(file: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// The whole file or the old one, for our eyes only.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let new = file.with_extension("new");
    let write = || {
        // One that a crash has left may have other rights.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    write().with_context(|| format!("writing {}: may we write there?", file.display()))
}
