//! Whether the certificate is good for a while yet: in the log when it is not. It is used on, for
//! clients that know it by its fingerprint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certificates::{Certificate, Current};
use proto::ticket::UnixSeconds;

/// How often it is looked at: it may have been replaced, and the clock been set.
const LOOK: Duration = Duration::from_secs(60);
/// Left of a long time: who renews it by hand has to hear of it.
const WEEK: u64 = 7 * 86_400;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Good,
    /// In its last week, or its last sixth if that is less: an authority's client renews it before.
    Ending,
    Expired,
}

impl Age {
    pub(super) fn of(certificate: &Certificate) -> Self {
        Self::at(certificate.not_before(), certificate.not_after(), wall())
    }

    fn at(not_before: UnixSeconds, not_after: UnixSeconds, now: UnixSeconds) -> Self {
        let Some(left) = not_after.0.checked_sub(now.0) else { return Self::Expired };
        let whole = not_after.0.saturating_sub(not_before.0);
        if left < WEEK.min(whole / 6) { Self::Ending } else { Self::Good }
    }
}

/// Says in the log when the certificate has become old, for ever.
pub(super) async fn watch(current: &Current) {
    let mut said = None;
    loop {
        let certificate = current.get();
        let now = certificate.as_ref().map(|is| (is.fingerprint(), Age::of(is)));
        if now != said
            && let Some((certificate, (sha256, age))) = certificate.zip(now.clone())
        {
            let not_after = certificate.not_after().0;
            match age {
                Age::Good => {}
                Age::Ending => tracing::warn!(
                    sha256,
                    not_after,
                    "the certificate expires soon: put a new one in its place"
                ),
                Age::Expired => tracing::error!(
                    sha256,
                    not_after,
                    "the certificate has expired: put a new one in its place"
                ),
            }
        }
        said = now;
        tokio::time::sleep(LOOK).await;
    }
}

fn wall() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ages_by_days_or_by_its_own_time() {
        const DAY: u64 = 86_400;
        let at = |days: u64, now: u64| {
            Age::at(UnixSeconds(0), UnixSeconds(days * DAY), UnixSeconds(now))
        };
        assert_eq!(at(90, 83 * DAY), Age::Good);
        assert_eq!(at(90, 83 * DAY + 1), Age::Ending);
        assert_eq!(at(90, 90 * DAY), Age::Ending);
        assert_eq!(at(90, 90 * DAY + 1), Age::Expired);
        // Of six days, whose authority's client renews it when two are left.
        assert_eq!(at(6, 4 * DAY), Age::Good);
        assert_eq!(at(6, 5 * DAY + 1), Age::Ending);
    }
}
