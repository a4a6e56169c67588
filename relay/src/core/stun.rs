//! Answers to STUN (RFC 8489, RFC 5780), for those whom the kernel does not answer. An answer is longer
//! than its question, so each network of askers is given few; and networks can be made up, so all of
//! them together have a limit too.

mod pair;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use dataplane_common::{Address, Allowance, AskerNetwork, DropReason, MAX_ASKERS, Nanos};
pub use pair::StunPair;
use proto::stun::{Change, Question};

use super::bucket::Bucket;

/// Answers that a network of askers is given in a second.
const ANSWERS: u32 = 50;
/// And at once, after a pause.
const ANSWERS_AT_ONCE: u32 = 100;

/// Answers a second to all the world: each is a datagram sent, so a flood of questions from made-up
/// networks takes no more from lanes than one of questions about those.
const ALL_ANSWERS: NonZeroU64 = NonZeroU64::new(50_000).unwrap();
/// How many at once: all nodes may look for another way in one moment.
const ALL_AHEAD: Duration = Duration::from_millis(500);

/// After so long a network has all of its allowance again.
const FORGOTTEN: Nanos = Nanos(4_000_000_000);

/// What is sent, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunAnswer {
    /// The message.
    pub bytes: Vec<u8>,
    /// One of a pair's places; nothing: the address that was asked, which is of no pair.
    pub from: Option<SocketAddr>,
}

/// Who was answered lately.
pub struct Stun {
    pairs: Vec<StunPair>,
    allowance: Allowance,
    /// What all networks together have used.
    all: Bucket,
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
    pub fn new(pairs: Vec<StunPair>, now: Instant) -> Self {
        let askers = [HashMap::new(), HashMap::new()];
        let all = Bucket::full(now);
        Self { pairs, allowance: Self::allowance(), all, start: now, askers, period: 0 }
    }

    /// The answer to a message of STUN that came to this address of ours, if that is known.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn answer(
        &mut self,
        datagram: &[u8],
        asker: SocketAddr,
        at: Option<SocketAddr>,
        now: Instant,
    ) -> Result<StunAnswer, DropReason> {
        let question = Question::parse(datagram).ok_or(DropReason::LaneMalformed)?;
        self.admit(AskerNetwork::of(&Address::from(asker.ip())), now)?;
        let change = question.change.unwrap_or_default();
        let place = |at, change| self.pairs.iter().find_map(|pair| pair.changed(at, change));
        let own = at.and_then(|at| place(at, Change::default()));
        let refused = !question.unknown.is_empty() || (question.change.is_some() && own.is_none());
        if refused {
            return Ok(StunAnswer { bytes: question.refusal(own.is_some()), from: own });
        }
        let from = own.and_then(|at| place(at, change));
        // The second address is told as seen from the one that was asked.
        let other = own.and_then(|at| place(at, Change { ip: true, port: true }));
        let two = from.zip(other).map(|(from, other)| [from, other]);
        Ok(StunAnswer { bytes: question.answer(asker, two), from })
    }

    /// A network that asks too much takes nothing from others.
    fn admit(&mut self, network: AskerNetwork, at: Instant) -> Result<(), DropReason> {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        // As if it had begun earlier, so that nobody's past reaches below zero.
        let now = Nanos(u64::try_from(nanos).map_or(u64::MAX, |n| n.saturating_add(FORGOTTEN.0)));
        self.forget(now.0 / FORGOTTEN.0);
        let [present, before] = &mut self.askers;
        let spent = present.get(&network).or_else(|| before.get(&network)).copied();
        let spent = self.allowance.take(spent.unwrap_or(Nanos(0)), now);
        let spent = spent.ok_or(DropReason::StunRate)?;
        if !self.all.take_within(1, ALL_ANSWERS, ALL_AHEAD, at) {
            return Err(DropReason::LaneBusy);
        }
        // A full table forgets its oldest networks, as the kernel's does.
        if present.len() >= MAX_ASKERS as usize && !present.contains_key(&network) {
            *before = std::mem::take(present);
        }
        present.insert(network, spent);
        Ok(())
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
mod tests;
