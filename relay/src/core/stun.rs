//! Answers to STUN (RFC 8489), for those whom the kernel does not answer. An answer is longer than its
//! question, so each network of askers is given few.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use dataplane_common::{Address, Allowance, AskerNetwork, DropReason, MAX_ASKERS, Nanos, stun};

/// Answers that a network of askers is given in a second.
const ANSWERS: u32 = 50;
/// And at once, after a pause.
const ANSWERS_AT_ONCE: u32 = 100;

/// After so long a network has all of its allowance again.
const FORGOTTEN: Nanos = Nanos(4_000_000_000);

/// Who was answered lately.
pub struct Stun {
    allowance: Allowance,
    start: Instant,
    /// In the present period, and in the one before: so that forgetting takes no time.
    askers: [HashMap<AskerNetwork, Nanos>; 2],
    period: u64,
}

impl Stun {
    /// What each network of askers may have, here and in the kernel.
    #[must_use]
    pub fn allowance() -> Allowance {
        Allowance::new(ANSWERS, ANSWERS_AT_ONCE)
    }

    /// Nobody was.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let askers = [HashMap::new(), HashMap::new()];
        Self { allowance: Self::allowance(), start: now, askers, period: 0 }
    }

    /// The answer to a message of STUN.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn answer(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Result<stun::Response, DropReason> {
        let malformed = DropReason::LaneMalformed;
        let length = u32::try_from(datagram.len()).map_err(|_| malformed)?;
        let request = stun::parse(datagram, 0, length).ok_or(malformed)?;
        let asker = Address::from(from.ip());
        if !self.may_ask(AskerNetwork::of(&asker), now) {
            return Err(DropReason::StunRate);
        }
        Ok(stun::Response::new(&request, &asker, from.port()))
    }

    fn may_ask(&mut self, network: AskerNetwork, now: Instant) -> bool {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        // As if it had begun earlier, so that nobody's past reaches below zero.
        let now = Nanos(u64::try_from(nanos).map_or(u64::MAX, |n| n.saturating_add(FORGOTTEN.0)));
        self.forget(now.0 / FORGOTTEN.0);
        let [present, before] = &mut self.askers;
        let spent = present.get(&network).or_else(|| before.get(&network)).copied();
        let Some(spent) = self.allowance.take(spent.unwrap_or(Nanos(0)), now) else { return false };
        // A full table forgets its oldest networks, as the kernel's does.
        if present.len() >= MAX_ASKERS as usize && !present.contains_key(&network) {
            *before = std::mem::take(present);
        }
        present.insert(network, spent);
        true
    }

    fn forget(&mut self, period: u64) {
        if period == self.period {
            return;
        }
        let [present, before] = &mut self.askers;
        *before = std::mem::take(present);
        if period > self.period + 1 {
            before.clear();
        }
        self.period = period;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request() -> Vec<u8> {
        [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
    }

    #[test]
    fn a_network_is_given_few_answers_and_strangers_leave_little() {
        let start = Instant::now();
        let mut stun = Stun::new(start);
        let from = |ip: [u8; 4]| SocketAddr::from((ip, 1000));
        let mut ask = |ip, now| stun.answer(&request(), from(ip), now).is_ok();
        let at_once = (0..=255).filter(|host| ask([192, 0, 2, *host], start)).count();
        assert!((50..=101).contains(&at_once), "{at_once} answers to one network");
        assert!(ask([192, 0, 3, 1], start), "another network is answered");
        assert!(ask([192, 0, 2, 1], start + Duration::from_secs(1)));
        for network in 0..60_000_u16 {
            let [a, b] = network.to_be_bytes();
            assert!(ask([11, a, b, 1], start + Duration::from_secs(2)));
        }
        assert!(stun.askers.iter().all(|askers| askers.len() <= MAX_ASKERS as usize));
        let later = start + Duration::from_secs(9);
        assert!(stun.answer(&request(), from([203, 0, 113, 1]), later).is_ok());
        assert_eq!(stun.askers[1].len(), 0, "and nothing for long");
    }

    #[test]
    fn what_is_no_request_is_not_answered() {
        let now = Instant::now();
        let mut stun = Stun::new(now);
        let from = SocketAddr::from(([192, 0, 2, 1], 9));
        let mut answer = request();
        answer[0] = 1;
        for bytes in [&answer[..], &request()[..19], &[], &[0; 20]] {
            assert_eq!(stun.answer(bytes, from, now).err(), Some(DropReason::LaneMalformed));
        }
    }
}
