//! Where the world sees the WireGuard port: relays are asked by STUN, from that port. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use proto::control::{Region, RegionId};
use proto::stun::{self, Transaction};

/// The port of STUN and of lanes.
const STUN_PORT: u16 = 3478;
/// How often it is asked, so that a NAT keeps the port's mapping.
const EVERY: Duration = Duration::from_secs(20);
/// How old the last answer of a relay may be that is there: one may be lost.
const ANSWERED: Duration = Duration::from_secs(45);
/// How soon after a start, while answers may be lost.
const SOON: Duration = Duration::from_secs(1);
/// Questions that are asked soon.
const EAGER: u32 = 3;
/// Whom to ask of a region in a round: two, since one alone cannot show a hard NAT.
const ASKED: usize = 2;

/// Questions that are out, and what came of them.
#[derive(Debug)]
pub(super) struct Reflexive {
    asked: HashMap<Transaction, (RegionId, IpAddr, Timestamp)>,
    at: Timestamp,
    rounds: u32,
    /// What each relay sees, by its address.
    seen: BTreeMap<IpAddr, Seen>,
}

/// What a relay sees, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) region: RegionId,
    address: SocketAddr,
    pub(super) time: Duration,
    /// When it answered.
    at: Timestamp,
}

impl Reflexive {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { asked: HashMap::new(), at: now, rounds: 0, seen: BTreeMap::new() }
    }

    /// The network is another.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        (self.at, self.rounds) = (now, 0);
        self.seen.clear();
    }

    /// What to ask now: relays of each region in turn, by addresses that are known.
    pub(super) fn questions(
        &mut self,
        regions: &[Region],
        mut random: impl FnMut() -> Transaction,
        now: Timestamp,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        if now < self.at {
            return Vec::new();
        }
        let round = self.rounds as usize;
        self.rounds = self.rounds.saturating_add(1);
        self.at = now + if self.rounds <= EAGER { SOON } else { EVERY };
        self.asked.retain(|_, (.., at)| now - *at < EVERY);
        let mut questions = Vec::new();
        for region in regions {
            let known: Vec<_> = region.relays.iter().flat_map(|relay| &relay.addresses).collect();
            for place in 0..ASKED.min(known.len()) {
                let to = *known[(round * ASKED + place) % known.len()];
                let transaction = random();
                self.asked.insert(transaction, (region.id, to, now));
                questions.push((SocketAddr::from((to, STUN_PORT)), stun::request(&transaction)));
            }
        }
        questions
    }

    /// Takes an answer; whether the port is seen elsewhere than before.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        let Some(transaction) = datagram.get(8..20).and_then(|id| Transaction::try_from(id).ok())
        else {
            return false;
        };
        let Some(&(region, relay, at)) = self.asked.get(&transaction) else { return false };
        let Some(address) = stun::answer(datagram, &transaction) else { return false };
        self.asked.remove(&transaction);
        let before = self.seen.insert(relay, Seen { region, address, time: now - at, at: now });
        before.is_none_or(|before| before.address != address)
    }

    /// Where the world sees the port, IPv4 first, each once.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.seen.values().map(|seen| seen.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Whether the NAT gives each destination another port; not known before two have answered.
    pub(super) fn is_hard(&self) -> Option<bool> {
        let mut v4 = self.seen.values().map(|seen| seen.address).filter(SocketAddr::is_ipv4);
        let first = v4.next()?;
        let others: Vec<_> = v4.collect();
        let hard = others.iter().any(|other| other.ip() == first.ip() && *other != first);
        (!others.is_empty()).then_some(hard)
    }

    /// What each relay sees.
    pub(super) fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values()
    }

    /// The nearest region but one, of those that answered of late.
    pub(super) fn nearest(&self, but: Option<RegionId>, now: Timestamp) -> Option<RegionId> {
        let of_late = |seen: &&Seen| now - seen.at < ANSWERED && Some(seen.region) != but;
        let seen = self.seen.values().filter(of_late);
        seen.min_by_key(|seen| (seen.time, seen.region)).map(|seen| seen.region)
    }
}

#[cfg(test)]
mod tests {
    use dataplane_common::stun::{BINDING_SUCCESS, COOKIE, XOR_MAPPED_ADDRESS};

    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(1));

    /// Asks one relay, which sees this port.
    fn see(reflexive: &mut Reflexive, relay: u8, port: u16) {
        let transaction = [relay; 12];
        let ip = IpAddr::from([198, 51, 100, relay]);
        reflexive.asked.insert(transaction, (RegionId(1), ip, NOW));
        let port = (port ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]])).to_be_bytes();
        let seen: Vec<_> = [192, 0, 2, 9].iter().zip(COOKIE).map(|(a, b)| a ^ b).collect();
        let head = [&BINDING_SUCCESS[..], &[0, 12], &COOKIE, &transaction].concat();
        let answer = [&head[..], &XOR_MAPPED_ADDRESS, &[0, 8, 0, 1], &port, &seen].concat();
        assert!(reflexive.answer(&answer, NOW));
    }

    #[test]
    fn a_nat_is_hard_if_two_relays_see_two_ports() {
        let mut reflexive = Reflexive::new(NOW);
        see(&mut reflexive, 1, 7000);
        assert_eq!(reflexive.is_hard(), None);
        see(&mut reflexive, 2, 7000);
        assert_eq!(reflexive.is_hard(), Some(false));
        see(&mut reflexive, 3, 7001);
        assert_eq!(reflexive.is_hard(), Some(true));
        assert_eq!(reflexive.addresses().len(), 2);
    }

    #[test]
    fn of_relays_that_answer_no_more_none_is_near() {
        let mut reflexive = Reflexive::new(NOW);
        let mut see_at = |relay: u8, now: Timestamp, time| {
            see(&mut reflexive, relay, 7000);
            let seen = reflexive.seen.get_mut(&IpAddr::from([198, 51, 100, relay])).unwrap();
            *seen = Seen { region: RegionId(relay.into()), time, at: now, ..*seen };
        };
        let (near, far) = (Duration::from_millis(1), Duration::from_millis(9));
        see_at(1, NOW, near);
        see_at(2, NOW, far);
        let region = |id| Some(RegionId(id));
        assert_eq!(reflexive.nearest(None, NOW), region(1));
        assert_eq!(reflexive.nearest(region(1), NOW), region(2));
        assert_eq!(reflexive.nearest(None, NOW + ANSWERED), None);
    }
}
