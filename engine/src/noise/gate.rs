//! Who may make us compute a handshake: `mac1`, cookies under load, a bucket for each source.
//!
//! A handshake costs four Diffie-Hellman operations. Without `mac1` (proof of knowing our public
//! key) none is spent. Above [`CALM`] handshakes a second, a source must first prove its address
//! by returning a cookie (WireGuard paper, section 5.3), and even then gets only its share.

use std::net::IpAddr;
use std::time::Duration;

use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;
use dataplane_common::DropReason;
use proto::message::COOKIE_REPLY_LEN;

use super::{Identity, set_clock};
use crate::time::Timestamp;

/// Handshakes a second that are computed without asking for a cookie: about a tenth of one core.
pub(crate) const CALM: u32 = 512;
/// Under load, handshakes a second of one source (Linux: 20).
const SOURCE_RATE: u64 = 20;
/// Under load, handshakes that one source may have saved up (Linux: 5).
const SOURCE_BURST: u64 = 5;
/// Buckets for sources. Sources that share one share its tokens; the table never grows.
const BUCKETS: usize = 4096;

/// Admits handshake messages to computation.
pub(crate) struct Gate {
    limiter: RateLimiter,
    window: Window,
    buckets: Box<[Bucket]>,
    hash_seed: u64,
}

/// What becomes of a handshake message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Compute it.
    Admitted,
    /// Drop it.
    Refused(DropReason),
    /// Drop it and answer with a cookie of this length.
    Cookie(usize),
}

/// Counts what the current second has seen.
#[derive(Default)]
struct Window {
    start: Timestamp,
    messages: u32,
}

/// Tokens of the sources that hash here, in milliseconds of refill.
#[derive(Clone, Copy, Default)]
struct Bucket {
    empty_at: Timestamp,
}

impl Gate {
    pub(crate) fn new(identity: &Identity, hash_seed: u64, now: Timestamp) -> Self {
        set_clock(now);
        Self {
            limiter: RateLimiter::new(&identity.public, u64::from(CALM)),
            window: Window::default(),
            buckets: vec![Bucket::default(); BUCKETS].into(),
            hash_seed,
        }
    }

    /// Judges an initiation or a response; a cookie reply may be written to `dst`.
    pub(crate) fn admit(
        &mut self,
        source: IpAddr,
        message: &[u8],
        dst: &mut [u8],
        now: Timestamp,
    ) -> Admission {
        set_clock(now);
        if now - self.window.start >= Duration::from_secs(1) {
            self.window = Window { start: now, messages: 0 };
            self.limiter.reset_count();
        }
        let mut cookie = [0; COOKIE_REPLY_LEN];
        match self.limiter.verify_packet(Some(source), message, &mut cookie) {
            Ok(_) => {}
            Err(TunnResult::WriteToNetwork(cookie)) => {
                dst[..cookie.len()].copy_from_slice(cookie);
                return Admission::Cookie(cookie.len());
            }
            Err(_) => return Admission::Refused(DropReason::BadMac1),
        }
        self.window.messages = self.window.messages.saturating_add(1);
        if self.window.messages > CALM && !self.bucket(source).take(now) {
            return Admission::Refused(DropReason::SourceRateLimited);
        }
        Admission::Admitted
    }

    fn bucket(&mut self, source: IpAddr) -> &mut Bucket {
        // An IPv6 source can have its whole /64: that is one source.
        let bits = match source.to_canonical() {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            IpAddr::V6(address) => u64::try_from(u128::from(address) >> 64).unwrap_or_default(),
        };
        let index = mix(bits ^ self.hash_seed) % BUCKETS as u64;
        &mut self.buckets[usize::try_from(index).unwrap_or_default()]
    }
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, now: Timestamp) -> bool {
        let token = Duration::from_millis(1000 / SOURCE_RATE);
        let full = Duration::from_millis(1000 / SOURCE_RATE * SOURCE_BURST);
        // `empty_at` runs ahead of now by the tokens that were taken and are not yet refilled.
        let start = self.empty_at.max(now);
        let taken = start + token;
        if taken - now > full {
            return false;
        }
        self.empty_at = taken;
        true
    }
}

/// The finaliser of splitmix64: spreads addresses over the buckets, unguessably with a seed.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::default();
        let start = Timestamp::from_epoch(Duration::from_secs(100));
        let burst = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(burst as u64, SOURCE_BURST);
        let second = (1..=1000).filter(|&ms| bucket.take(start + Duration::from_millis(ms)));
        assert_eq!(second.count() as u64, SOURCE_RATE);
    }
}
