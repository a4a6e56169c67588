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
    asked: HashMap<Transaction, (RegionId, SocketAddr, Timestamp)>,
    at: Timestamp,
    /// When it was asked last.
    asked_at: Option<Timestamp>,
    rounds: u32,
    /// What each relay sees, by where it was asked.
    seen: BTreeMap<SocketAddr, Seen>,
}

/// What a relay sees, and how far it is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    region: RegionId,
    address: SocketAddr,
    /// Its second address, if it has one.
    other: Option<SocketAddr>,
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
                questions.push(self.question(region.id, (to, STUN_PORT).into(), random(), now));
            }
        }
        let relays = regions.iter().flat_map(|region| &region.relays);
        let known: Vec<IpAddr> = relays.flat_map(|relay| &relay.addresses).copied().collect();
        let second = self.second_of_one(&known);
        // What was seen from a second address that is asked no more may be true no more.
        let seconds: Vec<_> = self.seen.values().filter_map(|seen| seen.other).collect();
        let is_kept = |at: &SocketAddr| {
            known.contains(&at.ip()) || !seconds.contains(at) || second.is_some_and(|s| s.1 == *at)
        };
        self.seen.retain(|at, _| is_kept(at));
        if let Some((region, to)) = second {
            questions.push(self.question(region, to, random(), now));
        }
        questions
    }

    fn question(
        &mut self,
        region: RegionId,
        to: SocketAddr,
        transaction: Transaction,
        now: Timestamp,
    ) -> (SocketAddr, Vec<u8>) {
        self.asked.insert(transaction, (region, to, now));
        (to, stun::request(&transaction))
    }

    /// The second address of the only relay that has answered by IPv4: it shows a hard NAT as another
    /// relay would.
    fn second_of_one(&self, known: &[IpAddr]) -> Option<(RegionId, SocketAddr)> {
        let mut relays =
            self.seen.iter().filter(|(at, _)| at.is_ipv4() && known.contains(&at.ip()));
        let (Some((_, only)), None) = (relays.next(), relays.next()) else { return None };
        let other = only.other.filter(|other| !known.contains(&other.ip()))?;
        Some((only.region, other))
    }

    /// A relay that has a second address and has answered lately by IPv4.
    pub(super) fn with_second(&self, now: Timestamp) -> Option<SocketAddr> {
        let lately = self.seen.iter().filter(|(_, seen)| now - seen.at < KNOWN);
        lately.filter(|(_, seen)| seen.other.is_some()).map(|(at, _)| *at).find(SocketAddr::is_ipv4)
    }

    /// Takes an answer; whether the port is seen elsewhere than before.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        let Some(transaction) = datagram.get(8..20).and_then(|id| Transaction::try_from(id).ok())
        else {
            return false;
        };
        let Some(&(region, relay, at)) = self.asked.get(&transaction) else { return false };
        let Some(answer) = stun::answer(datagram, &transaction) else { return false };
        let address = answer.seen;
        let other = answer.other.filter(|other| may_be_asked(*other, relay));
        self.asked.remove(&transaction);
        let before = self.seen.get(&relay).copied();
        let mut times = before.map_or([Duration::MAX; REMEMBERED], |before| before.times);
        times.rotate_right(1);
        times[0] = now - at;
        self.seen.insert(relay, Seen { region, address, other, times, at: now });
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

/// Whether a relay here may have this for its second address: a public host's.
pub(super) fn may_be_asked(other: SocketAddr, relay: SocketAddr) -> bool {
    let (IpAddr::V4(ip), IpAddr::V4(first)) = (other.ip(), relay.ip()) else { return false };
    let nobody =
        ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local();
    let here = ip.is_loopback() && !first.is_loopback();
    // Who is reached in public is not behind this host's router.
    let inside = ip.is_private() && !first.is_private();
    !nobody && !here && !inside && other.port() != 0
}

#[cfg(test)]
mod tests {
    use dataplane_common::stun::{BINDING_SUCCESS, COOKIE, XOR_MAPPED_ADDRESS};

    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(1));

    fn relay(number: u8) -> IpAddr {
        [198, 51, 100, number].into()
    }

    /// A region of one relay.
    fn region(number: u8) -> Region {
        let relay = json!({ "host": "r", "addresses": [relay(number)], "tls_port": 443 });
        serde_json::from_value(json!({ "id": number, "name": "r", "relays": [relay] })).unwrap()
    }

    /// Asks one relay, which sees this port and may have a second address.
    fn see(reflexive: &mut Reflexive, at: u8, port: u16, second: Option<[u8; 4]>) {
        let transaction = [at; 12];
        let at = SocketAddr::from((relay(at), STUN_PORT));
        reflexive.asked.insert(transaction, (RegionId(1), at, NOW));
        assert!(reflexive.answer(&answer(transaction, port, second), NOW));
    }

    fn answer(transaction: Transaction, port: u16, second: Option<[u8; 4]>) -> Vec<u8> {
        let port = (port ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]])).to_be_bytes();
        let seen: Vec<_> = [192, 0, 2, 9].iter().zip(COOKIE).map(|(a, b)| a ^ b).collect();
        let head = [&BINDING_SUCCESS[..], &[0, 12], &COOKIE, &transaction].concat();
        let other = second.map(|ip| [&[0x80, 0x2c, 0, 8, 0, 1, 0, 9][..], &ip].concat());
        let other = other.unwrap_or_default();
        [&head[..], &XOR_MAPPED_ADDRESS, &[0, 8, 0, 1], &port, &seen, &other].concat()
    }

    #[test]
    fn a_nat_is_hard_if_two_relays_see_two_ports() {
        let mut reflexive = Reflexive::new(NOW);
        see(&mut reflexive, 1, 7000, None);
        assert_eq!(reflexive.is_hard(), None);
        see(&mut reflexive, 2, 7000, None);
        assert_eq!(reflexive.is_hard(), Some(false));
        see(&mut reflexive, 3, 7001, None);
        assert_eq!(reflexive.is_hard(), Some(true));
        assert_eq!(reflexive.addresses().len(), 2);
    }

    #[test]
    fn the_second_address_of_a_relay_alone_shows_a_hard_nat() {
        let mut reflexive = Reflexive::new(NOW);
        let regions = [region(1), region(2)];
        let ask = |reflexive: &mut Reflexive, round: u8| {
            let questions =
                reflexive.questions(&regions, || [round; 12], NOW + EVERY * u32::from(round));
            questions.into_iter().map(|(to, _)| to).collect::<Vec<_>>()
        };
        see(&mut reflexive, 1, 7000, Some([192, 0, 2, 9]));
        let second = SocketAddr::from(([192, 0, 2, 9], 9));
        assert_eq!(ask(&mut reflexive, 100).last(), Some(&second));
        assert_eq!(reflexive.is_hard(), None);
        // All had the same number: the last that was asked is answered.
        let told = answer([100; 12], 7001, Some([198, 51, 100, 1]));
        assert!(reflexive.answer(&told, NOW + EVERY * 100));
        assert_eq!(reflexive.is_hard(), Some(true));
        assert_eq!(ask(&mut reflexive, 101).last(), Some(&second), "and goes on");
        // Another relay answers: it is not asked any more, and what it saw is forgotten.
        see(&mut reflexive, 2, 7000, None);
        assert_eq!(ask(&mut reflexive, 102).len(), 2);
        assert_eq!(reflexive.is_hard(), Some(false));
    }

    #[test]
    fn a_relay_names_no_host_that_it_cannot_be() {
        for ip in
            [[127, 0, 0, 1], [10, 0, 0, 1], [224, 0, 0, 1], [0; 4], [255; 4], [169, 254, 1, 1]]
        {
            let mut reflexive = Reflexive::new(NOW);
            see(&mut reflexive, 1, 7000, Some(ip));
            assert_eq!(reflexive.questions(&[region(1)], || [7; 12], NOW).len(), 1, "{ip:?}");
            assert_eq!(reflexive.with_second(NOW), None);
        }
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
