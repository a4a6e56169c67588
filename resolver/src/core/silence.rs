//! Who of those that are asked has not answered lately: they are asked last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// For how long silence counts.
const REMEMBERED: Duration = Duration::from_secs(30);
/// More upstreams than any configuration has.
const MOST: usize = 256;

/// Who was silent, and when.
#[derive(Debug, Default)]
pub struct Silence(HashMap<SocketAddr, Instant>);

impl Silence {
    /// The same upstreams, those that were silent lately last.
    #[must_use]
    pub fn order(&self, upstreams: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
        let mut order = upstreams.to_vec();
        order.sort_by_key(|upstream| {
            self.0.get(upstream).is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED)
        });
        order
    }

    /// It did not answer in time.
    pub fn silent(&mut self, upstream: SocketAddr, now: Instant) {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        if self.0.len() < MOST {
            self.0.insert(upstream, now);
        }
    }

    /// It answered.
    pub fn answered(&mut self, upstream: SocketAddr) {
        self.0.remove(&upstream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_are_asked_last_for_a_while() {
        let [a, b]: [SocketAddr; 2] = ["1.1.1.1:53", "2.2.2.2:53"].map(|at| at.parse().unwrap());
        let start = Instant::now();
        let mut silence = Silence::default();
        silence.silent(a, start);
        assert_eq!(silence.order(&[a, b], start), [b, a]);
        assert_eq!(silence.order(&[a, b], start + REMEMBERED), [a, b]);
        silence.answered(a);
        assert_eq!(silence.order(&[a, b], start), [a, b]);
    }
}
