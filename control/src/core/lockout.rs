//! Who fails too often waits: failures of each source, in a table that cannot grow.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use proto::ticket::UnixSeconds;

/// Failures that cost nothing.
const FREE: u32 = 10;
/// In how many seconds one failure is forgotten.
const FORGET: u64 = 30;
/// Sources that are remembered.
const MOST: usize = 65_536;

/// An IPv4 address or an IPv6 /64: what one stranger has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

/// The failures.
#[derive(Default)]
pub struct Lockout {
    sources: HashMap<Source, Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: UnixSeconds,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Failures {
    fn left(self, now: UnixSeconds) -> u32 {
        let forgotten = now.0.saturating_sub(self.since.0) / FORGET;
        self.count.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

impl Lockout {
    /// Seconds that the source has to wait, if it may not try now.
    #[must_use]
    pub fn wait(&self, source: Source, now: UnixSeconds) -> Option<u64> {
        let left = self.sources.get(&source)?.left(now);
        (left >= FREE).then(|| u64::from(left - FREE + 1) * FORGET)
    }

    /// The source has shown a secret that is none.
    pub fn failed(&mut self, source: Source, now: UnixSeconds) {
        if self.sources.len() >= MOST && !self.sources.contains_key(&source) {
            self.sources.retain(|_, failures| failures.left(now) > 0);
            if self.sources.len() >= MOST {
                // So many sources at once are one attacker: begin anew rather than grow.
                self.sources.clear();
            }
        }
        let before = self.sources.get(&source).map_or(0, |failures| failures.left(now));
        let count = before.saturating_add(1).min(2 * FREE);
        self.sources.insert(source, Failures { count, since: now });
    }

    /// How many sources have to wait.
    #[must_use]
    pub fn locked(&self, now: UnixSeconds) -> usize {
        self.sources.values().filter(|failures| failures.left(now) >= FREE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn after_ten_failures_a_source_waits_and_others_do_not() {
        let mut lockout = Lockout::default();
        let (one, now) = (source("2001:db8::1"), UnixSeconds(1000));
        for _ in 0..FREE {
            assert_eq!(lockout.wait(one, now), None);
            lockout.failed(one, now);
        }
        assert_eq!(lockout.wait(one, now), Some(FORGET));
        assert_eq!(lockout.wait(source("2001:db8::ffff"), now), Some(FORGET), "the same /64");
        assert_eq!(lockout.wait(source("2001:db8:0:1::1"), now), None);
        assert_eq!(lockout.wait(one, UnixSeconds(1000 + FORGET)), None);
        assert_eq!(lockout.locked(now), 1);
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn the_table_does_not_grow() {
        let mut lockout = Lockout::default();
        for number in 0..200_000u32 {
            let address = std::net::Ipv4Addr::from_bits(number);
            lockout.failed(IpAddr::from(address).into(), UnixSeconds(1));
        }
        assert!(lockout.sources.len() <= MOST);
    }
}
