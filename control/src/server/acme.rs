//! ACME with several instances: account, certificate and proofs lie sealed in the database, so that
//! whichever instance an authority reaches can answer it, and one instance orders at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use certificates::Certificate;
use certificates::acme::{AccountCredentials, Acme, Proof, Store};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::app::App;
use crate::clock::now;

/// Seconds after which an instance that is not heard of loses its turn.
const TURN: u64 = 60;
/// How often it is heard of.
const HEARD: Duration = Duration::from_secs(15);
/// Strangers may pretend to be an authority: so many of them are looked up at one time.
const LOOKS: usize = 4;
/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all instances share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shared {
    app: App,
    acme: Arc<Acme>,
    heard: watch::Receiver<()>,
    looks: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(app: App, acme: &Acme) -> Self {
        let heard = app.hub().secrets();
        Self { app, acme: Arc::new(acme.clone()), heard, looks: Arc::new(Semaphore::new(LOOKS)) }
    }

    /// For a handshake in which an authority looks whether this name is ours.
    pub(super) async fn config_of_proof(&self, name: &str) -> Option<Arc<ServerConfig>> {
        if !self.acme.names.iter().any(|ours| ours == name) {
            return None;
        }
        let _look = self.looks.acquire().await.ok()?;
        let found = self.secret(&proof(name)).await;
        let config = found.and_then(|found| match found {
            Some(pem) => Proof::from_pem(pem).server_config().map(Some),
            None => Ok(None),
        });
        config.unwrap_or_else(|error| {
            tracing::warn!("the proof of {name} is not shown: {error:#}");
            None
        })
    }

    fn account_name(&self) -> String {
        format!("acme-account {}", self.acme.directory)
    }

    fn certificate_name(&self) -> String {
        format!("acme-certificate {} {}", self.acme.directory, self.acme.names.join(" "))
    }

    async fn secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let secret = self.app.store().secret(self.app.seal(), name).await;
        secret.with_context(|| format!("reading {name:?} from the database"))
    }

    async fn keep(&self, name: &str, secret: &[u8]) -> Result<()> {
        let kept = self.app.store().keep_secret(self.app.seal(), name, secret).await;
        kept.with_context(|| format!("keeping {name:?} in the database"))
    }

    async fn forget(&self, name: &str) -> Result<()> {
        let forgotten = self.app.store().forget_secret(name).await;
        forgotten.with_context(|| format!("removing {name:?} from the database"))
    }
}

fn proof(name: &str) -> String {
    format!("acme-proof {name}")
}

/// Who takes the turn after us need not wait.
pub(super) async fn leave(app: &App) {
    // Without the database it waits for a minute at most.
    let _ = timeout(LAST_WORDS, app.store().end_turns(app.hub().instance())).await;
}

impl Store for Shared {
    async fn account(&self) -> Result<Option<AccountCredentials>> {
        let Some(text) = self.secret(&self.account_name()).await? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).context("the account in the database is none")
    }

    async fn keep_account(&self, account: &AccountCredentials) -> Result<()> {
        let text = serde_json::to_vec(account).context("writing the account as JSON")?;
        self.keep(&self.account_name(), &Zeroizing::new(text)).await
    }

    async fn forget_account(&self) -> Result<()> {
        self.forget(&self.account_name()).await
    }

    async fn certificate(&self) -> Result<Option<Certificate>> {
        let Some(pem) = self.secret(&self.certificate_name()).await? else { return Ok(None) };
        Certificate::from_pem(&pem).map(Some).context("the certificate in the database is none")
    }

    async fn keep_certificate(&self, key_and_chain: &[u8]) -> Result<()> {
        self.keep(&self.certificate_name(), key_and_chain).await
    }

    async fn show(&self, name: &str, shown: Option<&Proof>) -> Result<()> {
        match shown {
            Some(shown) => self.keep(&proof(name), shown.as_pem()).await,
            None => self.forget(&proof(name)).await,
        }
    }

    async fn take_turn(&self) -> Result<bool> {
        let (name, instance) = (self.certificate_name(), self.app.hub().instance());
        Ok(self.app.store().take_turn(&name, instance, TURN).await?)
    }

    async fn hold_turn(&self) -> Error {
        let mut heard = now();
        loop {
            sleep(HEARD).await;
            match self.take_turn().await {
                Ok(true) => heard = now(),
                Ok(false) => return anyhow!("another instance has taken it"),
                Err(_) if now().0 < heard.0.saturating_add(TURN) => {}
                Err(error) => return error.context("holding it in the database"),
            }
        }
    }

    async fn end_turn(&self) {
        if let Err(error) = self.app.store().end_turns(self.app.hub().instance()).await {
            tracing::warn!(%error, "the turn to order a certificate ends by itself in {TURN} s");
        }
    }

    async fn changed(&mut self) {
        // A closed channel is a hub that is gone, and nothing more comes.
        if self.heard.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
