//! The choice of a way: a function of evidence, with hysteresis.

use std::time::Duration;

use engine::Timestamp;
use proto::control::{PathKind, PathKinds};

use crate::evidence::{Evidence, Fault};
use crate::route::{Choice, Route};

/// To be chosen, a way must have answered within this.
pub const FRESH: Duration = Duration::from_secs(1);
/// A way in use that has not answered for so long, though it was asked, is dead.
pub const DEAD: Duration = Duration::from_millis(1200);
/// So many pings must have gone unanswered for that, the first for so long: what was quiet has not answered
/// lately in any case.
const DEAD_PINGS: u32 = 3;
const DEAD_WAIT: Duration = Duration::from_millis(450);
/// How long a way is kept before a better one replaces it.
const HOLD: Duration = Duration::from_secs(60);
/// What is nearer than this to each other is equal.
const EQUAL: Duration = Duration::from_millis(5);

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// What is used now.
    pub current: Choice,
    /// Since when.
    pub since: Timestamp,
    /// Whether there is a relay.
    pub relay: bool,
    /// What kinds of way may be used.
    pub kinds: PathKinds,
    /// What the tunnel says of the way in use.
    pub fault: Option<Fault>,
    /// Where to begin while nothing is known, if there is no relay.
    pub guess: Option<Route>,
    /// Until when no direct way is taken: too many had to be left.
    pub barred: Timestamp,
}

/// What is chosen, and what was wrong with what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The way.
    pub choice: Choice,
    /// Why the one before was left, if it had to be.
    pub fault: Option<Fault>,
}

/// Chooses.
pub fn select<'a>(
    standing: &Standing,
    ways: impl Iterator<Item = (Route, &'a Evidence)> + Clone,
    now: Timestamp,
) -> Verdict {
    // One that is in use and is forbidden now is left as if it were not there.
    let ways = ways.filter(|(route, _)| standing.kinds.has(route.kind()));
    let usable = ways.clone().filter(|(route, evidence)| {
        // Direct ways that had to be left say nothing of those by nodes that relay.
        let barred = if route.is_relayed() { Timestamp::default() } else { standing.barred };
        is_usable(evidence, barred, now)
    });
    let current = standing.current.route().and_then(|route| {
        ways.clone().find(|(other, _)| *other == route).map(|(_, evidence)| (route, evidence))
    });
    if let Some((route, evidence)) = current {
        let fault = standing.fault.or_else(|| fault(evidence, now));
        // Asked for the first time because there is nothing else, it has proven nothing yet.
        let guessed = !standing.relay && evidence.heard.is_none();
        if fault.is_none() && !guessed {
            let better = best(usable).filter(|(other, found)| {
                let straight = route.is_relayed() && !other.is_relayed();
                let held = now - standing.since >= HOLD;
                *other != route
                    && (straight || held && is_clearly_better((route, evidence), (*other, found)))
            });
            let choice = Choice::Direct(better.map_or(route, |(route, _)| route));
            return Verdict { choice, fault: None };
        }
        let other = best(usable.filter(|(other, _)| *other != route));
        let choice = match other {
            Some((other, _)) => Choice::Direct(other),
            None => otherwise(standing, Some(route)),
        };
        return Verdict { choice, fault: fault.filter(|_| choice != standing.current) };
    }
    let choice = match best(usable) {
        Some((route, _)) => Choice::Direct(route),
        None => otherwise(standing, standing.guess),
    };
    Verdict { choice, fault: None }
}

/// Where packets go while no direct way is known.
fn otherwise(standing: &Standing, guess: Option<Route>) -> Choice {
    match standing.relay {
        true if standing.kinds.has(PathKind::Relay) => Choice::Relay,
        true => Choice::Nowhere,
        false => guess.map_or(Choice::Nowhere, Choice::Direct),
    }
}

/// What is wrong with a way that is used, by its pings.
fn fault(evidence: &Evidence, now: Timestamp) -> Option<Fault> {
    let slow = evidence.rtt.unwrap_or_default() * 2;
    let silent = evidence.waits(DEAD_WAIT + slow, now) && !evidence.is_fresh(DEAD + slow, now);
    if evidence.unanswered >= DEAD_PINGS && silent {
        return Some(Fault::Died);
    }
    evidence.is_lossy().then_some(Fault::Lossy)
}

/// Whether a way may be taken.
#[must_use]
pub fn is_usable(evidence: &Evidence, barred: Timestamp, now: Timestamp) -> bool {
    let free = evidence.barred.max(barred) <= now;
    free && evidence.is_proven() && evidence.is_fresh(FRESH, now)
}

fn best<'a>(ways: impl Iterator<Item = (Route, &'a Evidence)>) -> Option<(Route, &'a Evidence)> {
    ways.reduce(|a, b| if is_better(a, b) { b } else { a })
}

type Way<'a> = (Route, &'a Evidence);

/// Whether `b` is better than `a`: straight, nearer, and IPv6 among equals.
fn is_better(a: Way<'_>, b: Way<'_>) -> bool {
    if a.0.is_relayed() != b.0.is_relayed() {
        return a.0.is_relayed();
    }
    let (near, far) = (b.1.rtt.unwrap_or(Duration::MAX), a.1.rtt.unwrap_or(Duration::MAX));
    let margin = EQUAL.max(near.min(far) / 5);
    if near.abs_diff(far) <= margin {
        let v6 = (b.0.to.is_ipv6(), a.0.to.is_ipv6());
        return if v6.0 == v6.1 { near < far } else { v6.0 };
    }
    near < far
}

/// Whether it is worth a change: by a third and 10 ms.
fn is_clearly_better(a: Way<'_>, b: Way<'_>) -> bool {
    if a.0.is_relayed() != b.0.is_relayed() {
        return a.0.is_relayed();
    }
    let (near, far) = (b.1.rtt.unwrap_or(Duration::MAX), a.1.rtt.unwrap_or_default());
    near < far * 2 / 3 && far.saturating_sub(near) >= EQUAL * 2
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(1000));
    const V4: &str = "192.0.2.1:1";
    const V6: &str = "[2001:db8::1]:1";

    fn route(text: &str) -> Route {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn answered(ms: u64, before: Duration) -> Evidence {
        let mut evidence = Evidence::default();
        let at = Timestamp::from_epoch(NOW.since_epoch().saturating_sub(before));
        evidence.asked(at);
        evidence.answered(Duration::from_millis(ms), false, at);
        evidence
    }

    fn fresh(ms: u64) -> Evidence {
        answered(ms, Duration::ZERO)
    }

    fn standing(current: Choice) -> Standing {
        Standing {
            current,
            since: Timestamp::default(),
            relay: true,
            kinds: PathKinds::ALL,
            fault: None,
            guess: None,
            barred: Timestamp::default(),
        }
    }

    fn choose(standing: &Standing, ways: &[(&str, Evidence)]) -> Choice {
        let ways: Vec<_> = ways.iter().map(|(at, evidence)| (route(at), evidence)).collect();
        select(standing, ways.iter().copied(), NOW).choice
    }

    #[test]
    fn ipv6_is_first_among_equals_and_the_nearer_else() {
        let from_relay = standing(Choice::Relay);
        let chosen = |v4, v6| choose(&from_relay, &[(V4, fresh(v4)), (V6, fresh(v6))]);
        assert_eq!(chosen(20, 22), Choice::Direct(route(V6)));
        assert_eq!(chosen(20, 80), Choice::Direct(route(V4)));
        assert_eq!(choose(&from_relay, &[]), Choice::Relay);
    }

    #[test]
    fn a_node_that_relays_is_better_than_the_relay_and_worse_than_a_direct_way() {
        const PEER_RELAY: &str = "127.1.0.9:1";
        const OTHER: &str = "127.1.0.10:1";
        let from_relay = standing(Choice::Relay);
        let by = |at| Choice::Direct(route(at));
        assert_eq!(choose(&from_relay, &[(PEER_RELAY, fresh(90))]), by(PEER_RELAY));
        let both = [(PEER_RELAY, fresh(40)), (OTHER, fresh(9))];
        assert_eq!(choose(&from_relay, &both), by(OTHER));
        let direct = [(PEER_RELAY, fresh(9)), (V4, fresh(90))];
        assert_eq!(choose(&from_relay, &direct), by(V4));
        // At once, and not back while it answers.
        let now = Standing { since: NOW, ..standing(by(PEER_RELAY)) };
        assert_eq!(choose(&now, &direct), by(V4));
        assert_eq!(choose(&standing(by(V4)), &direct), by(V4));
        // Too many direct ways had to be left, or the node let go of it.
        let barred = Standing { barred: NOW + FRESH, ..from_relay };
        assert_eq!(choose(&barred, &direct), by(PEER_RELAY));
        assert_eq!(choose(&now, &[]), Choice::Relay);
    }

    #[test]
    fn what_is_forbidden_is_left_at_once_for_what_is_allowed() {
        const PEER_RELAY: &str = "127.1.0.9:1";
        let by = |at| Choice::Direct(route(at));
        let both = [(PEER_RELAY, fresh(40)), (V4, fresh(9))];
        let without = |current, kind| {
            let kinds = PathKinds::ALL.without(PathKinds::from(kind));
            choose(&Standing { kinds, since: NOW, ..standing(current) }, &both)
        };
        assert_eq!(without(by(V4), PathKind::Direct), by(PEER_RELAY));
        assert_eq!(without(by(PEER_RELAY), PathKind::PeerRelay), by(V4));
        assert_eq!(without(by(V4), PathKind::Relay), by(V4));
        let only = |kind: PathKind, ways: &[(&str, Evidence)]| {
            choose(&Standing { kinds: kind.into(), ..standing(by(V4)) }, ways)
        };
        assert_eq!(only(PathKind::Relay, &both), Choice::Relay);
        assert_eq!(only(PathKind::PeerRelay, &[(V4, fresh(9))]), Choice::Nowhere);
        assert_eq!(only(PathKind::Direct, &[]), Choice::Nowhere);
        let alone = Standing { relay: false, kinds: PathKind::Relay.into(), ..standing(by(V4)) };
        assert_eq!(choose(&alone, &both), Choice::Nowhere);
    }

    #[test]
    fn a_way_is_kept_unless_another_is_clearly_better_for_long() {
        let on_v4 = standing(Choice::Direct(route(V4)));
        assert_eq!(choose(&on_v4, &[(V4, fresh(30)), (V6, fresh(25))]), on_v4.current);
        let better = [(V4, fresh(30)), (V6, fresh(10))];
        assert_eq!(choose(&on_v4, &better), Choice::Direct(route(V6)));
        let since = Timestamp::from_epoch(Duration::from_secs(990));
        assert_eq!(choose(&Standing { since, ..on_v4 }, &better), on_v4.current);
    }

    #[test]
    fn a_dead_way_is_left_for_what_answers_or_the_relay() {
        let mut dead = answered(20, Duration::from_secs(2));
        let on_v4 = standing(Choice::Direct(route(V4)));
        assert_eq!(choose(&on_v4, &[(V4, dead)]), on_v4.current, "nobody has asked it");
        (0..3).for_each(|_| dead.asked(Timestamp::default()));
        assert_eq!(choose(&on_v4, &[(V4, dead)]), Choice::Relay);
        assert_eq!(choose(&on_v4, &[(V4, dead), (V6, fresh(90))]), Choice::Direct(route(V6)));
        let only = Standing { kinds: PathKind::Direct.into(), ..on_v4 };
        assert_eq!(choose(&only, &[(V4, dead)]), Choice::Nowhere);
        let alone = Standing { relay: false, ..on_v4 };
        assert_eq!(choose(&alone, &[(V4, dead)]), on_v4.current, "there is nothing else");
    }

    #[test]
    fn a_way_that_is_barred_or_old_is_not_taken() {
        let from_relay = standing(Choice::Relay);
        assert_eq!(choose(&from_relay, &[(V4, answered(20, FRESH * 2))]), Choice::Relay);
        let mut lossy = fresh(20);
        lossy.blame(Fault::Lossy, NOW);
        lossy.answered(Duration::from_millis(20), false, NOW);
        assert_eq!(choose(&from_relay, &[(V4, lossy)]), Choice::Relay);
        let barred = Standing { barred: NOW + FRESH, ..from_relay };
        assert_eq!(choose(&barred, &[(V4, fresh(20))]), Choice::Relay);
        let relayed = Standing { kinds: PathKind::Relay.into(), ..from_relay };
        assert_eq!(choose(&relayed, &[(V4, fresh(20))]), Choice::Relay);
    }

    #[test]
    fn who_died_once_has_to_prove_more() {
        let mut evidence = fresh(20);
        evidence.blame(Fault::Died, NOW);
        for _ in 0..2 {
            evidence.answered(Duration::from_millis(20), false, NOW);
            assert!(!is_usable(&evidence, NOW, NOW));
        }
        evidence.answered(Duration::from_millis(20), false, NOW);
        assert!(is_usable(&evidence, NOW, NOW));
    }
}
