//! Where the world sees the WireGuard port: relays are asked by STUN, from that port. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use proto::control::{Region, RegionId};
use proto::stun::{self, Transaction};

/// The port of STUN and of lanes.
pub(super) const STUN_PORT: u16 = 3478;
/// How often it is asked, so that a NAT keeps the port's mapping.
const EVERY: Duration = Duration::from_secs(20);
/// How long an answer says how far a relay is.
const KNOWN: Duration = Duration::from_secs(70);
/// Answers of which the shortest counts.
const REMEMBERED: usize = 4;
/// How soon after a start, while answers may be lost.
const SOON: Duration = Duration::from_secs(1);
/// How long after questions others may be asked out of turn.
const RESTED: Duration = Duration::from_secs(2);
/// Questions that are asked soon.
const EAGER: u32 = 3;
/// Whom to ask of a region in a round: two, since one alone cannot show a hard NAT.
const ASKED: usize = 2;

/// Questions that are out, and what came of them.
#[derive(Debug)]
pub(super) struct Reflexive {
    asked: HashMap<Transaction, (RegionId, IpAddr, Timestamp)>,
    at: Timestamp,
    /// When it was asked last.
    asked_at: Option<Timestamp>,
    rounds: u32,
    /// What each relay sees, by its address.
    seen: BTreeMap<IpAddr, Seen>,
}

/// What a relay sees, and how far it is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    region: RegionId,
    address: SocketAddr,
    /// How long the last answers took: the shortest says how far it is, others how busy somebody was.
    times: [Duration; REMEMBERED],
    at: Timestamp,
}

impl Reflexive {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { asked: HashMap::new(), at: now, asked_at: None, rounds: 0, seen: BTreeMap::new() }
    }

    /// The network is another.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        (self.at, self.rounds) = (now, 0);
        self.seen.clear();
    }

    /// The next questions are due at once, if the last were not a moment ago; whether they are.
    pub(super) fn ask_soon(&mut self, now: Timestamp) -> bool {
        let due = self.asked_at.is_none_or(|at| now - at >= RESTED);
        if due {
            self.at = now;
        }
        due
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
        self.asked_at = Some(now);
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
        let before = self.seen.get(&relay).copied();
        let mut times = before.map_or([Duration::MAX; REMEMBERED], |before| before.times);
        times.rotate_right(1);
        times[0] = now - at;
        self.seen.insert(relay, Seen { region, address, times, at: now });
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

    /// How far the nearest relay of a region is, by what answered lately.
    pub(super) fn distance(&self, region: RegionId, now: Timestamp) -> Option<Duration> {
        let seen = self.seen.values().filter(|seen| seen.region == region && now - seen.at < KNOWN);
        seen.flat_map(|seen| seen.times).min()
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
    fn it_is_asked_out_of_turn_but_not_all_the_time() {
        let mut reflexive = Reflexive::new(NOW);
        for round in 0..u32::from(u8::MAX) {
            reflexive.questions(&[], || [7; 12], NOW + EVERY * round);
        }
        let last = NOW + EVERY * u32::from(u8::MAX - 1);
        assert!(!reflexive.ask_soon(last + RESTED / 2));
        assert!(reflexive.ask_soon(last + RESTED));
        assert_eq!(reflexive.at, last + RESTED);
        reflexive.questions(&[], || [7; 12], last + RESTED);
        assert!(!reflexive.ask_soon(last + RESTED));
    }
}
