//! A certificate from an authority by ACME (RFC 8555), proven over TLS-ALPN-01 (RFC 8737): got at
//! the first start, kept in a [`Store`], renewed when a third of its time is left.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};
use proto::ticket::UnixSeconds;

mod directory;
mod order;
mod proof;
mod said;
mod schedule;
mod store;

pub use directory::Directory;
pub use instant_acme::AccountCredentials;
pub use proof::Proof;
pub use said::Said;
pub use store::Store;

use crate::{Certificate, Current};
use schedule::{left, pause};

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);
/// The clock is asked this often, since it may be set and a machine may sleep.
const LOOK: Duration = Duration::from_secs(600);
/// The wait before the turn to order is asked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// Whom to ask for a certificate, and for which names.
#[derive(Clone, Debug)]
pub struct Acme {
    /// Host names, in lower case.
    pub names: Vec<String>,
    /// How the authority reaches the operator, as a URL.
    pub contact: Option<String>,
    /// The authority's directory.
    pub directory: String,
    /// A file with the certificate by which the directory is trusted, if not by the system's.
    pub root: Option<PathBuf>,
    /// An external account: its identifier, and the file with its key.
    pub external: Option<(String, PathBuf)>,
    /// The key of the configuration that says where proofs are shown.
    pub shown_at: &'static str,
}

/// The certificate that an earlier run has got, if it is still good.
pub async fn load(store: &impl Store) -> Result<Option<Certificate>> {
    let kept = store.certificate().await?;
    Ok(kept.filter(|certificate| certificate.not_after() > wall()))
}

/// Reads what an order would need, so that what is wrong is known before one is due.
pub async fn prepare(acme: &Acme, store: &impl Store) -> Result<()> {
    order::prepare(acme, store).await
}

/// Gets certificates before they are needed, for ever.
pub async fn keep(current: &Current, acme: &Acme, mut store: impl Store) {
    loop {
        if let Some(left) = left(current.get().as_ref(), wall()) {
            wait(left.min(LOOK), &mut store).await;
            look(current, &store).await;
            continue;
        }
        match store.take_turn().await {
            Ok(true) => {
                let lost = tokio::select! {
                    () = in_turn(current, acme, &store) => None,
                    lost = store.hold_turn() => Some(lost),
                };
                match lost {
                    None => store.end_turn().await,
                    Some(lost) => failed(current, acme, lost.context("the turn to order is lost")),
                }
            }
            Ok(false) => {
                tracing::debug!("another instance orders the certificate");
                wait(AGAIN, &mut store).await;
                look(current, &store).await;
            }
            Err(error) => {
                failed(current, acme, error.context("asking for the turn to order"));
                wait(AGAIN, &mut store).await;
            }
        }
    }
}

/// So long, or until another instance has stored something.
async fn wait(time: Duration, store: &mut impl Store) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = store.changed() => {}
    }
}

/// Tries until there is a certificate that is not due.
async fn in_turn(current: &Current, acme: &Acme, store: &impl Store) {
    for failures in 0.. {
        let attempt = tokio::time::timeout(ATTEMPT, renew(current, acme, store)).await;
        let result = attempt.unwrap_or_else(|_| {
            Err(anyhow!("the certificate authority took longer than {ATTEMPT:?}"))
        });
        for name in &acme.names {
            if let Err(error) = store.show(name, None).await {
                tracing::warn!("the proof of {name} stays: {error:#}");
            }
        }
        let Err(error) = result else { return };
        failed(current, acme, error);
        let wait = pause(failures);
        tracing::info!(again_in = ?wait, "asking the certificate authority again");
        tokio::time::sleep(wait).await;
    }
}

fn failed(current: &Current, acme: &Acme, error: anyhow::Error) {
    let (names, directory) = (acme.names.join(", "), &acme.directory);
    let error = error.context(format!("a certificate for {names} from {directory}"));
    tracing::error!("not got: {error:#}");
    current.keep_for(&error);
}

async fn renew(current: &Current, acme: &Acme, store: &impl Store) -> Result<()> {
    // Another may have had the turn before us.
    take_up(current, store).await?;
    if left(current.get().as_ref(), wall()).is_some() {
        return Ok(());
    }
    let certificate = order::certificate(acme, store).await?;
    tracing::info!(
        sha256 = certificate.fingerprint(),
        not_after = certificate.not_after().0,
        "the certificate authority has given a certificate for {}",
        acme.names.join(", ")
    );
    let is_good = left(Some(&certificate), wall()).is_some();
    current.set(certificate);
    ensure!(is_good, "what was given is due to be renewed at once: is the clock here right?");
    Ok(())
}

/// Uses what another instance, or an earlier run, has stored.
async fn take_up(current: &Current, store: &impl Store) -> Result<()> {
    let Some(kept) = load(store).await? else { return Ok(()) };
    if current.get().is_none_or(|current| kept.not_after() > current.not_after()) {
        tracing::info!(sha256 = kept.fingerprint(), "the certificate has changed");
        current.set(kept);
    }
    Ok(())
}

async fn look(current: &Current, store: &impl Store) {
    if let Err(error) = take_up(current, store).await {
        tracing::error!("the old certificate stays in use: {error:#}");
        current.keep_for(&error);
    }
}

fn wall() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
