//! Where a peer may be reached: what it says, and from where it was heard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use engine::Timestamp;
use ipnet::IpNet;

use crate::evidence::Evidence;
use crate::route::Route;

/// The most of one peer.
pub const MOST_CANDIDATES: usize = 48;
/// Of those, the most that it did not name: a peer can be heard from anywhere.
const MOST_SEEN: usize = 8;

/// How an address became known. What comes first is kept when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A node relays for both.
    PeerRelay,
    /// The peer's router has mapped it, as a call says.
    Mapped,
    /// By the control plane.
    Told,
    /// By a call.
    Called,
    /// A ping came from there.
    Seen,
    /// It was guessed, and answered.
    Guessed,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::PeerRelay, Self::Mapped, Self::Told, Self::Called, Self::Seen, Self::Guessed];

    /// For people, and for counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PeerRelay => "peer_relay",
            Self::Mapped => "mapped",
            Self::Told => "told",
            Self::Called => "called",
            Self::Seen => "seen",
            Self::Guessed => "guessed",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) origin: Origin,
    pub(crate) evidence: Evidence,
    since: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Candidates(BTreeMap<Route, Candidate>);

impl Candidates {
    /// The peer names these now, and no others; whether one is new. `used` stays in any case.
    pub(crate) fn name(
        &mut self,
        origin: Origin,
        named: &[SocketAddr],
        used: Option<Route>,
        now: Timestamp,
    ) -> bool {
        let proven = |candidate: &Candidate| candidate.evidence.heard.is_some();
        self.0.retain(|route, candidate| {
            let stays = candidate.origin != origin || named.contains(&route.to);
            stays || used == Some(*route) || proven(candidate)
        });
        let mut news = false;
        for &to in named {
            news |= self.add(to.into(), origin, used, now);
        }
        news
    }

    /// By these nodes it can be relayed now, and by no others, used or not; whether one is new.
    pub(crate) fn relayed(&mut self, by: &[SocketAddr], now: Timestamp) -> bool {
        self.0.retain(|route, _| !route.is_relayed() || by.contains(&route.to));
        let mut news = false;
        for &to in by {
            news |= self.add(to.into(), Origin::PeerRelay, None, now);
        }
        news
    }

    /// There is one more, perhaps; whether it is new.
    pub(crate) fn add(
        &mut self,
        route: Route,
        origin: Origin,
        used: Option<Route>,
        now: Timestamp,
    ) -> bool {
        if let Some(known) = self.0.get_mut(&route) {
            known.origin = known.origin.min(origin);
            return false;
        }
        let unnamed = |candidate: &Candidate| candidate.origin >= Origin::Seen;
        let seen = self.0.values().filter(|candidate| unnamed(candidate)).count();
        let full = self.0.len() >= MOST_CANDIDATES || (origin >= Origin::Seen && seen >= MOST_SEEN);
        if full && !self.make_room(origin, used) {
            return false;
        }
        self.0.insert(route, Candidate { origin, evidence: Evidence::default(), since: now });
        true
    }

    /// Lets go of the one that is worth least, if it is of no better origin than what comes.
    fn make_room(&mut self, origin: Origin, used: Option<Route>) -> bool {
        let worth = |candidate: &Candidate| {
            let evidence = &candidate.evidence;
            (evidence.heard, std::cmp::Reverse(candidate.origin), candidate.since)
        };
        let free = self.0.iter().filter(|(route, candidate)| {
            Some(**route) != used && candidate.origin >= origin.min(Origin::Seen)
        });
        let least = free.min_by_key(|(_, candidate)| worth(candidate)).map(|(route, _)| *route);
        least.is_some_and(|route| self.0.remove(&route).is_some())
    }

    pub(crate) fn remove(&mut self, route: &Route) {
        self.0.remove(route);
    }

    pub(crate) fn get(&self, route: &Route) -> Option<&Candidate> {
        self.0.get(route)
    }

    pub(crate) fn evidence(&mut self, route: &Route) -> Option<&mut Evidence> {
        self.0.get_mut(route).map(|candidate| &mut candidate.evidence)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Route, &Candidate)> + Clone {
        self.0.iter().map(|(route, candidate)| (*route, candidate))
    }

    pub(crate) fn ways(&self) -> impl Iterator<Item = (Route, &Evidence)> + Clone {
        self.iter().map(|(route, candidate)| (route, &candidate.evidence))
    }

    /// What was learnt was learnt in another network.
    pub(crate) fn forget(&mut self) {
        self.0.values_mut().for_each(|candidate| candidate.evidence.forget());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a peer can be there. What is of this host, of everybody, or inside the tunnel is not:
/// a peer must not make us send there.
pub(crate) fn is_sensible(at: SocketAddr, inside: &[IpNet]) -> bool {
    let ip = at.ip();
    let odd = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        // A link-local one needs an interface, which no other host can name.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    let nobody = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || at.port() == 0;
    !odd && !nobody && !inside.iter().any(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch(std::time::Duration::from_secs(1));

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn strangers_addresses_push_out_each_other_only() {
        let mut candidates = Candidates::default();
        let told: Vec<_> = (1..30).map(at).collect();
        candidates.name(Origin::Told, &told, None, NOW);
        for port in 100..1000 {
            candidates.add(at(port).into(), Origin::Seen, Some(at(100).into()), NOW);
        }
        assert_eq!(candidates.len(), told.len() + MOST_SEEN);
        assert!(candidates.get(&at(100).into()).is_some(), "it is in use");
        assert!(told.iter().all(|at| candidates.get(&(*at).into()).is_some()));
        for port in 2000..3000 {
            candidates.name(Origin::Called, &[at(port), at(port + 1)], None, NOW);
            assert!(candidates.len() <= MOST_CANDIDATES);
        }
    }

    #[test]
    fn what_is_named_no_more_goes_unless_it_answers() {
        let mut candidates = Candidates::default();
        assert!(candidates.name(Origin::Told, &[at(1), at(2)], None, NOW));
        candidates.evidence(&at(2).into()).unwrap().heard = Some(NOW);
        assert!(candidates.name(Origin::Told, &[at(3)], None, NOW));
        let left: Vec<_> = candidates.iter().map(|(route, _)| route.to.port()).collect();
        assert_eq!(left, [2, 3]);
        assert!(!candidates.name(Origin::Told, &[at(3)], None, NOW), "nothing is new");
    }

    #[test]
    fn addresses_that_cannot_be_a_peers_are_not_tried() {
        let inside = ["100.64.0.0/10".parse().unwrap()];
        for wrong in [
            "127.1.0.1:7",
            "0.0.0.0:7",
            "224.0.0.1:7",
            "255.255.255.255:7",
            "192.0.2.1:0",
            "169.254.1.1:7",
            "100.64.0.9:7",
            "[::1]:7",
            "[fe80::1]:7",
            "[::ffff:127.0.0.1]:7",
        ] {
            assert!(!is_sensible(wrong.parse().unwrap(), &inside), "{wrong}");
        }
        assert!(is_sensible("10.0.0.1:7".parse().unwrap(), &inside));
        assert!(is_sensible("[2001:db8::1]:7".parse().unwrap(), &inside));
    }
}
