//! Who is in admission: so many at one time, and so many from one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// An IPv4 address, or an IPv6 network of 64 bits: what one host can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source([u8; 8]);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        let mut prefix = [0; 8];
        match ip.to_canonical() {
            IpAddr::V4(v4) => prefix[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => prefix.copy_from_slice(&v6.octets()[..8]),
        }
        Self(prefix)
    }
}

/// Counts those in admission.
pub(super) struct Sources {
    limit: usize,
    source_limit: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_source: HashMap<Source, usize>,
}

/// A place in admission; given back when dropped.
pub(super) struct Place {
    sources: Arc<Sources>,
    source: Source,
}

impl Sources {
    pub(super) fn new(limit: usize, source_limit: usize) -> Self {
        Self { limit, source_limit, counts: Mutex::default() }
    }

    /// Whether so many are in admission that a source should first show that it is true.
    pub(super) fn is_busy(&self) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all >= self.limit / 4
    }

    /// A place, if there is one for this source.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let source = Source::from(ip);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let there = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.all >= self.limit || there >= self.source_limit {
            return None;
        }
        counts.all += 1;
        counts.by_source.insert(source, there + 1);
        Some(Place { sources: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        let left = counts.by_source.get(&self.source).map_or(0, |count| count - 1);
        if left == 0 {
            counts.by_source.remove(&self.source);
        } else {
            counts.by_source.insert(self.source, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let sources = Arc::new(Sources::new(3, 2));
        let enter = |ip: &str| sources.enter(ip.parse().unwrap());
        let busy = Arc::new(Sources::new(8, 8));
        let _one = busy.enter("192.0.2.1".parse().unwrap());
        assert!(!busy.is_busy());
        let _two = busy.enter("192.0.2.1".parse().unwrap());
        assert!(busy.is_busy());
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _third = enter("2001:db8::1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "all places are taken");
        drop(first);
        let _fourth = enter("2001:db8::ffff:1").unwrap();
        assert!(enter("2001:db8::2").is_none());
        drop((_second, _third, _fourth));
        assert!(sources.counts.lock().unwrap().by_source.is_empty());
    }
}
