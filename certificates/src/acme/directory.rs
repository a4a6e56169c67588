//! What ACME keeps on disk, where one process serves: an account for each authority, a certificate
//! for each set of names.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use instant_acme::AccountCredentials;
use zeroize::Zeroizing;

use super::{Acme, Proof, Store};
use crate::{Certificate, Current};

/// The files of one authority and one set of names; proofs are shown by this process.
pub struct Directory {
    state: PathBuf,
    account: PathBuf,
    certificate: PathBuf,
    current: Arc<Current>,
}

impl Directory {
    /// Those in this directory, which need not be there yet.
    #[must_use]
    pub fn new(state: &Path, acme: &Acme, current: Arc<Current>) -> Self {
        // A name of its own for each: another directory or other names begin anew.
        let named = |what: &str, of: &str| {
            let digest = ring::digest::digest(&ring::digest::SHA256, of.as_bytes());
            state.join(format!("{what}-{}", &hex::encode(digest)[..16]))
        };
        let names = format!("{} {}", acme.directory, acme.names.join(" "));
        Self {
            account: named("account", &acme.directory).with_extension("json"),
            certificate: named("certificate", &names).with_extension("pem"),
            current,
            state: state.to_owned(),
        }
    }

    /// Makes the directory if it is not there.
    pub fn make(&self) -> Result<()> {
        let state = &self.state;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state).with_context(|| {
            format!("making {} (`acme-state`): may we write there?", state.display())
        })
    }
}

impl Store for Directory {
    async fn account(&self) -> Result<Option<AccountCredentials>> {
        let Some(text) = read(&self.account)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!("{} is no account: remove it to make a new one", self.account.display())
        })
    }

    async fn keep_account(&self, account: &AccountCredentials) -> Result<()> {
        let text = serde_json::to_vec(account).context("writing the account as JSON")?;
        write(&self.account, &Zeroizing::new(text))
    }

    async fn forget_account(&self) -> Result<()> {
        fs::remove_file(&self.account)
            .with_context(|| format!("removing {}", self.account.display()))
    }

    async fn certificate(&self) -> Result<Option<Certificate>> {
        let Some(pem) = read(&self.certificate)? else { return Ok(None) };
        Certificate::from_pem(&pem).map(Some).with_context(|| {
            format!("{} is no certificate: remove it to get one", self.certificate.display())
        })
    }

    async fn keep_certificate(&self, key_and_chain: &[u8]) -> Result<()> {
        write(&self.certificate, key_and_chain)
    }

    async fn show(&self, name: &str, proof: Option<&Proof>) -> Result<()> {
        self.current.show(name, proof.map(Proof::key).transpose()?.map(Arc::new));
        Ok(())
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
