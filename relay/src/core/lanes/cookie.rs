//! Cookies: what shows that an address receives, without remembering that it asked.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proto::lane::{Cookie, LaneId, MAC_LEN};
use ring::hmac;

/// How long a secret is used; a cookie is good until the end of the next.
const ROTATION: Duration = Duration::from_secs(60);

/// Makes and knows cookies.
pub(in crate::core) struct Cookies {
    master: hmac::Key,
    start: Instant,
}

impl Cookies {
    pub(in crate::core) fn new(seed: &[u8; 32], now: Instant) -> Self {
        Self { master: hmac::Key::new(hmac::HMAC_SHA256, seed), start: now }
    }

    /// The cookie of an end at an address.
    pub(in crate::core) fn make(&self, lane: LaneId, from: SocketAddr, now: Instant) -> Cookie {
        self.of_period(lane, from, self.period(now))
    }

    /// Whether this is the cookie of that end at that address, and not too old.
    pub(in crate::core) fn knows(
        &self,
        cookie: Cookie,
        lane: LaneId,
        from: SocketAddr,
        now: Instant,
    ) -> bool {
        let period = self.period(now);
        cookie == self.of_period(lane, from, period)
            || period > 0 && cookie == self.of_period(lane, from, period - 1)
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / ROTATION.as_secs()
    }

    fn of_period(&self, lane: LaneId, from: SocketAddr, period: u64) -> Cookie {
        let ip = match from.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut context = hmac::Context::with_key(&self.master);
        context.update(&period.to_be_bytes());
        context.update(&lane.get().to_be_bytes());
        context.update(&ip.octets());
        context.update(&from.port().to_be_bytes());
        let mut cookie = [0; MAC_LEN];
        cookie.copy_from_slice(&context.sign().as_ref()[..MAC_LEN]);
        Cookie(cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_of_one_end_one_address_and_two_minutes_at_most() {
        let now = Instant::now();
        let cookies = Cookies::new(&[1; 32], now);
        let from: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let [one, two] = [1, 2].map(|id| LaneId::from_number(id).unwrap());
        let cookie = cookies.make(one, from, now);
        assert!(cookies.knows(cookie, one, from, now));
        assert!(cookies.knows(cookie, one, from, now + ROTATION));
        assert!(!cookies.knows(cookie, one, from, now + 2 * ROTATION));
        assert!(!cookies.knows(cookie, two, from, now));
        assert!(!cookies.knows(cookie, one, "192.0.2.1:6".parse().unwrap(), now));
        assert!(!cookies.knows(cookie, one, "192.0.2.2:5".parse().unwrap(), now));
        assert!(!Cookies::new(&[2; 32], now).knows(cookie, one, from, now));
    }
}
