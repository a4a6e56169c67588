//! Which way to a peer whose agent is older and has no probe key: directly where an endpoint answers
//! a handshake, else by a relay. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use engine::{PathChange, Timestamp};
use proto::control::NodeId;
use proto::key::PublicKey;

/// Traffic within this makes it worth to look for a better way.
const ACTIVE: Duration = Duration::from_secs(30);
/// A peer that was sent something answers within 10 s, if only by a keepalive.
const SILENCE: Duration = Duration::from_secs(12);
/// A direct way that was not used for so long may be closed by a NAT: begin by the relay again.
const STALE: Duration = Duration::from_secs(90);
/// How long a peer may be heard by its relay only, while we send directly.
const ONE_WAY: Duration = Duration::from_secs(3);
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LONGEST_PROBE: Duration = Duration::from_secs(15);

/// What is known of the way to each peer.
#[derive(Debug, Default)]
pub(super) struct Plain {
    peers: BTreeMap<NodeId, PeerPaths>,
}

#[derive(Debug)]
struct PeerPaths {
    key: PublicKey,
    candidates: Vec<SocketAddr>,
    /// Where a relay takes packets for it.
    relay: Option<SocketAddr>,
    probe_at: Timestamp,
    probe_wait: Duration,
    sent: u64,
    received: u64,
    active: Option<Timestamp>,
    /// Since when it was sent something and has not been heard.
    waiting: Option<Timestamp>,
    /// When it was last heard directly.
    direct: Option<Timestamp>,
    /// The candidate to use next where there is no relay.
    turn: usize,
}

/// What the engine says of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// When it was last heard, and whether by its relay.
    pub(crate) heard: Option<(Timestamp, bool)>,
}

impl Plain {
    /// There is a peer, with these ways to it. Gives what has to be changed at once.
    pub(super) fn set(
        &mut self,
        id: NodeId,
        key: PublicKey,
        candidates: Vec<SocketAddr>,
        relay: Option<SocketAddr>,
        now: Timestamp,
    ) -> Option<PathChange> {
        let new = || PeerPaths {
            key,
            candidates: Vec::new(),
            relay: None,
            probe_at: now,
            probe_wait: FIRST_PROBE,
            sent: 0,
            received: 0,
            active: None,
            waiting: None,
            direct: None,
            turn: 0,
        };
        let peer = self.peers.entry(id).or_insert_with(new);
        peer.key = key;
        // Without a relay, the first packet needs somewhere to go.
        let somewhere =
            candidates.first().filter(|_| relay.is_none() && peer.candidates.is_empty());
        let somewhere = somewhere.copied().map(PathChange::Use);
        if peer.candidates != candidates {
            peer.candidates = candidates;
            peer.probe_anew(now);
        }
        if peer.relay == relay {
            return somewhere;
        }
        peer.relay = relay;
        relay.map(PathChange::Relay).or(somewhere)
    }

    pub(super) fn remove(&mut self, id: &NodeId) {
        self.peers.remove(id);
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Our own network is another: everything is tried again.
    pub(super) fn start_over(&mut self, now: Timestamp) -> Vec<(PublicKey, PathChange)> {
        let mut changes = Vec::new();
        for peer in self.peers.values_mut() {
            peer.probe_anew(now);
            if let Some(relay) = peer.relay {
                changes.push((peer.key, PathChange::Use(relay)));
            }
        }
        changes
    }

    /// Looks at every peer.
    pub(super) fn tick(
        &mut self,
        observed: impl Fn(&PublicKey) -> Option<Observed>,
        now: Timestamp,
    ) -> Vec<(PublicKey, PathChange)> {
        let mut changes = Vec::new();
        for peer in self.peers.values_mut() {
            if let Some(seen) = observed(&peer.key) {
                let key = peer.key;
                changes.extend(peer.look(&seen, now).into_iter().map(|change| (key, change)));
            }
        }
        changes
    }
}

impl PeerPaths {
    fn probe_anew(&mut self, now: Timestamp) {
        (self.probe_at, self.probe_wait) = (now, FIRST_PROBE);
    }

    fn look(&mut self, seen: &Observed, now: Timestamp) -> Vec<PathChange> {
        self.learn(seen, now);
        let is_active = self.active.is_some_and(|at| now - at < ACTIVE);
        let Some(endpoint) = seen.endpoint else {
            // Nowhere yet: the first packet needs somewhere to ask.
            let first = self.relay.or_else(|| self.candidates.first().copied());
            return first.map(PathChange::Use).into_iter().collect();
        };
        if self.relay == Some(endpoint) {
            return if is_active { self.probe(now) } else { Vec::new() };
        }
        let silent = self.waiting.is_some_and(|since| now - since >= SILENCE);
        let stale = !is_active && self.direct.is_none_or(|at| now - at >= STALE);
        let one_way = seen.heard.is_some_and(|(at, relayed)| relayed && now - at < ONE_WAY)
            && self.direct.is_none_or(|at| now - at >= ONE_WAY);
        match self.relay {
            Some(relay) if silent || stale || one_way => {
                self.waiting = None;
                // What has just failed is not tried at once.
                self.probe_at = now + self.probe_wait;
                vec![PathChange::Use(relay)]
            }
            None if silent && !self.candidates.is_empty() => {
                self.waiting = Some(now);
                self.turn += 1;
                let next = self.candidates[self.turn % self.candidates.len()];
                vec![PathChange::Use(next), PathChange::Probe(self.candidates.clone())]
            }
            None if is_active && self.direct.is_none() => self.probe(now),
            _ => Vec::new(),
        }
    }

    fn learn(&mut self, seen: &Observed, now: Timestamp) {
        if seen.received > self.received {
            self.waiting = None;
            self.active = Some(now);
        } else if seen.sent > self.sent {
            self.waiting.get_or_insert(now);
        }
        if seen.sent > self.sent {
            self.active = Some(now);
        }
        (self.sent, self.received) = (seen.sent, seen.received);
        if let Some((at, false)) = seen.heard {
            self.direct = Some(at);
        }
    }

    fn probe(&mut self, now: Timestamp) -> Vec<PathChange> {
        if now < self.probe_at || self.candidates.is_empty() {
            return Vec::new();
        }
        self.probe_at = now + self.probe_wait;
        self.probe_wait = (self.probe_wait * 2).min(LONGEST_PROBE);
        vec![PathChange::Probe(self.candidates.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_epoch(Duration::from_secs(1000));
    const RELAY: &str = "127.0.0.9:1";
    const DIRECT: &str = "192.0.2.1:51820";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn seconds(n: u64) -> Timestamp {
        START + Duration::from_secs(n)
    }

    fn paths(relay: Option<&str>) -> Plain {
        let mut paths = Plain::default();
        let key = PublicKey::from([2; 32]);
        let change = paths.set(NodeId([2; 16]), key, vec![at(DIRECT)], relay.map(at), START);
        let first = relay.map_or_else(|| PathChange::Use(at(DIRECT)), |r| PathChange::Relay(at(r)));
        assert_eq!(change, Some(first));
        paths
    }

    fn look(paths: &mut Plain, seen: Observed, now: Timestamp) -> Vec<PathChange> {
        paths.tick(|_| Some(seen), now).into_iter().map(|(_, change)| change).collect()
    }

    fn seen(endpoint: &str, sent: u64, received: u64) -> Observed {
        Observed { endpoint: Some(at(endpoint)), sent, received, heard: None }
    }

    #[test]
    fn an_idle_peer_is_not_probed_and_an_active_one_ever_more_seldom() {
        let mut paths = paths(Some(RELAY));
        assert_eq!(look(&mut paths, seen(RELAY, 0, 0), START), []);
        let mut probes = Vec::new();
        for n in 1..60 {
            if !look(&mut paths, seen(RELAY, n, n), seconds(n)).is_empty() {
                probes.push(n);
            }
        }
        assert_eq!(probes, [1, 2, 4, 8, 16, 31, 46]);
    }

    #[test]
    fn a_direct_way_that_does_not_answer_is_left() {
        let mut paths = paths(Some(RELAY));
        let mut left = Vec::new();
        for n in 0..20 {
            let mut now = seen(DIRECT, n + 1, 1);
            now.heard = Some((START, false));
            left = look(&mut paths, now, seconds(n));
            if !left.is_empty() {
                assert_eq!(n, 13);
                break;
            }
        }
        assert_eq!(left, [PathChange::Use(at(RELAY))]);
    }

    #[test]
    fn a_way_that_works_in_one_direction_only_is_left() {
        let mut paths = paths(Some(RELAY));
        let mut direct = seen(DIRECT, 1, 1);
        direct.heard = Some((START, false));
        assert_eq!(look(&mut paths, direct, START), []);
        let relayed = |n| Observed { heard: Some((seconds(n), true)), ..seen(DIRECT, n, n) };
        assert_eq!(look(&mut paths, relayed(2), seconds(2)), [], "it was under way");
        assert_eq!(look(&mut paths, relayed(4), seconds(4)), [PathChange::Use(at(RELAY))]);
    }

    #[test]
    fn without_a_relay_candidates_take_turns() {
        let mut paths = paths(None);
        let nowhere = Observed { endpoint: None, ..seen(DIRECT, 0, 0) };
        assert_eq!(look(&mut paths, nowhere, START), [PathChange::Use(at(DIRECT))]);
        let probe = PathChange::Probe(vec![at(DIRECT)]);
        assert_eq!(look(&mut paths, seen(DIRECT, 1, 0), seconds(1)), [probe]);
        assert_eq!(look(&mut paths, seen(DIRECT, 2, 0), seconds(13)).len(), 2);
    }

    #[test]
    fn an_unused_direct_way_is_not_trusted_for_ever() {
        let mut paths = paths(Some(RELAY));
        let mut now = seen(DIRECT, 1, 1);
        now.heard = Some((START, false));
        assert_eq!(look(&mut paths, now, START), []);
        assert_eq!(look(&mut paths, now, seconds(60)), []);
        assert_eq!(look(&mut paths, now, seconds(100)), [PathChange::Use(at(RELAY))]);
    }
}
