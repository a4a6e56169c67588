//! When a certificate is to be renewed; pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use proto::ticket::UnixSeconds;

use crate::Certificate;

/// The wait after the first failure; it doubles up to the second.
const PAUSES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3600);

/// How long a certificate is good before it is due; nothing if it is, or if there is none.
pub(super) fn left(certificate: Option<&Certificate>, now: UnixSeconds) -> Option<Duration> {
    let due = renewal(certificate?);
    let left = due.0.saturating_sub(now.0);
    (left > 0).then_some(Duration::from_secs(left))
}

/// When a third of the time is left, as authorities ask for.
const fn renewal(certificate: &Certificate) -> UnixSeconds {
    let (start, end) = (certificate.not_before().0, certificate.not_after().0);
    UnixSeconds(end.saturating_sub(end.saturating_sub(start) / 3))
}

/// The wait after a failure that came after so many others.
pub(super) fn pause(failures: u32) -> Duration {
    PAUSES.start().saturating_mul(2_u32.saturating_pow(failures)).min(*PAUSES.end())
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
        let left = |now| left(Some(&certificate), UnixSeconds(now));
        assert_eq!(left(march - 5), Some(Duration::from_secs(5)));
        assert_eq!([left(march), left(march + 1), left(u64::MAX)], [None; 3]);
    }

    #[test]
    fn none_is_due() {
        assert_eq!(left(None, UnixSeconds(0)), None);
    }

    #[test]
    fn failures_make_it_patient() {
        let seconds: Vec<u64> = (0..8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pause(u32::MAX).as_secs(), 3600);
    }
}
