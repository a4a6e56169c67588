//! Where the world sees the WireGuard port: relays are asked by STUN, from that port. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use proto::control::{Region, RegionId};
use proto::stun::{self, Transaction};

/// The port of STUN and of lanes.
const STUN_PORT: u16 = 3478;
/// How often it is asked, so that a NAT keeps the port's mapping.
const EVERY: Duration = Duration::from_secs(20);
/// How soon after a start, while answers may be lost.
const SOON: Duration = Duration::from_secs(1);
/// Questions that are asked soon.
const EAGER: u32 = 3;

/// Questions that are out, and what came of them.
#[derive(Debug)]
pub(super) struct Reflexive {
    asked: HashMap<Transaction, (RegionId, Timestamp)>,
    at: Timestamp,
    rounds: u32,
    /// What each region sees, and how far it is.
    pub(super) seen: HashMap<RegionId, (SocketAddr, Duration)>,
}

impl Reflexive {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { asked: HashMap::new(), at: now, rounds: 0, seen: HashMap::new() }
    }

    /// The network is another.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        (self.at, self.rounds) = (now, 0);
        self.seen.clear();
    }

    /// What to ask now: one relay of each region, by addresses that are known.
    pub(super) fn questions(
        &mut self,
        regions: &[Region],
        mut random: impl FnMut() -> Transaction,
        now: Timestamp,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        if now < self.at {
            return Vec::new();
        }
        self.rounds = self.rounds.saturating_add(1);
        self.at = now + if self.rounds <= EAGER { SOON } else { EVERY };
        self.asked.retain(|_, (_, at)| now - *at < EVERY);
        let round = self.rounds as usize;
        let mut questions = Vec::new();
        for region in regions {
            let found: Vec<_> =
                region.relays.iter().filter_map(|relay| relay.addresses.first()).collect();
            if found.is_empty() {
                continue;
            }
            let transaction = random();
            self.asked.insert(transaction, (region.id, now));
            let to = SocketAddr::from((*found[round % found.len()], STUN_PORT));
            questions.push((to, stun::request(&transaction)));
        }
        questions
    }

    /// Takes an answer; whether the port is seen elsewhere than before.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        let Some(transaction) = datagram.get(8..20).and_then(|id| Transaction::try_from(id).ok())
        else {
            return false;
        };
        let Some(&(region, at)) = self.asked.get(&transaction) else { return false };
        let Some(address) = stun::answer(datagram, &transaction) else { return false };
        self.asked.remove(&transaction);
        let before = self.seen.insert(region, (address, now - at));
        before.is_none_or(|(before, _)| before != address)
    }

    /// The nearest region that answered.
    pub(super) fn nearest(&self) -> Option<RegionId> {
        self.seen.iter().min_by_key(|(id, (_, time))| (*time, **id)).map(|(id, _)| *id)
    }
}
