//! A certificate from an authority by ACME (RFC 8555), proven over TLS-ALPN-01 (RFC 8737): got at
//! the first start, kept on disk, renewed when a third of its time is left.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use proto::ticket::UnixSeconds;

mod order;
mod store;

use super::certificate::{Certificate, Current};
use store::Store;

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);
/// The wait after the first failure; it doubles up to the second.
const PAUSES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(3600);
/// The clock is asked this often, since it may be set and a machine may sleep.
const LOOK: Duration = Duration::from_secs(600);

/// Whom to ask for a certificate, and for which names.
#[derive(Clone, Debug)]
pub struct Acme {
    /// Host names, in lower case.
    pub names: Vec<String>,
    /// Where account and certificates are kept.
    pub state: PathBuf,
    /// How the authority reaches the operator, as a URL.
    pub contact: Option<String>,
    /// The authority's directory.
    pub directory: String,
    /// A file with the certificate by which the directory is trusted, if not by the system's.
    pub root: Option<PathBuf>,
    /// An external account: its identifier, and the file with its key.
    pub external: Option<(String, PathBuf)>,
}

/// The certificate that an earlier run has got, if it is still good.
pub(super) fn load(acme: &Acme) -> Result<Option<Certificate>> {
    let kept = Store::open(acme)?.certificate()?;
    Ok(kept.filter(|certificate| certificate.not_after > wall()))
}

/// Gets certificates before they are needed, for ever.
pub(super) async fn keep(current: &Current, acme: &Acme) {
    let mut failures = 0;
    loop {
        sleep_until(current.get().map_or_else(wall, |certificate| renewal(&certificate))).await;
        let attempt = tokio::time::timeout(ATTEMPT, renew(current, acme));
        let result = attempt.await.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("the certificate authority took longer than {ATTEMPT:?}"))
        });
        match result {
            Ok(()) => failures = 0,
            Err(error) => {
                let wait = pause(failures);
                failures += 1;
                let names = acme.names.join(", ");
                let directory = &acme.directory;
                let error = error.context(format!("a certificate for {names} from {directory}"));
                tracing::error!(again_in = ?wait, "not got: {error:#}");
                current.keep_for(&error);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn renew(current: &Current, acme: &Acme) -> Result<()> {
    let store = Store::open(acme)?;
    let certificate = order::certificate(current, acme, &store).await?;
    tracing::info!(
        sha256 = certificate.fingerprint(),
        not_after = certificate.not_after.0,
        "the certificate authority has given a certificate for {}",
        acme.names.join(", ")
    );
    current.set(certificate);
    Ok(())
}

/// When a third of the time is left, as authorities ask for.
const fn renewal(certificate: &Certificate) -> UnixSeconds {
    let (start, end) = (certificate.not_before.0, certificate.not_after.0);
    UnixSeconds(end.saturating_sub(end.saturating_sub(start) / 3))
}

/// The wait after a failure that came after so many others.
fn pause(failures: u32) -> Duration {
    PAUSES.start().saturating_mul(2_u32.saturating_pow(failures)).min(*PAUSES.end())
}

async fn sleep_until(due: UnixSeconds) {
    loop {
        let left = due.0.saturating_sub(wall().0);
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left).min(LOOK)).await;
    }
}

fn wall() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Reads a file that an operator has named.
fn read(file: &std::path::Path, key: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("reading {} (`{key}`): is it there and ours?", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_time_is_left_when_it_is_renewed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let made = params.self_signed(&key).unwrap();
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let certificate = Certificate::new(vec![made.der().clone()], private.into()).unwrap();
        let march = u64::try_from(rcgen::date_time_ymd(2026, 3, 2).unix_timestamp()).unwrap();
        assert_eq!(renewal(&certificate), UnixSeconds(march));
    }

    #[test]
    fn failures_make_it_patient() {
        let seconds: Vec<u64> = (0..8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pause(u32::MAX).as_secs(), 3600);
    }
}
