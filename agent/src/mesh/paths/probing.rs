//! Probes: sealed and opened, each for the peer that it is of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use engine::{PathChange, Timestamp, Traffic};
use paths::{Action, Choice, Observed, Paths, Refusal, Refusals, Route, SocketId, Theirs, Via};
use proto::control::{NodeId, PathKind};
use proto::key::PublicKey;
use proto::probe::{NONCE_LEN, Nonce, Probe, ProbeError, ProbeSecret, Sealer, sender};
use rand::rngs::OsRng;
use rand::{RngCore, TryRngCore as _};
use tokio::sync::mpsc;

use super::owners::Owners;
use super::spares::{SpareProbe, Spares};
use super::{PathPeer, Steps};
use crate::io::udp::Length;
use crate::mesh::nat64::Prefix;
use crate::mesh::secret::Secret;

/// A peer with traffic pings more often than this.
const PINGED: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Probing {
    secret: ProbeSecret,
    pub(super) paths: Paths,
    peers: BTreeMap<NodeId, Known>,
    /// Those to which the policy lets no packets go by a relay.
    unrelayed: BTreeSet<NodeId>,
    owners: Owners,
    by_key: HashMap<PublicKey, NodeId>,
    by_relay: HashMap<SocketAddr, NodeId>,
    /// The same of ways by peers that relay.
    by_way: HashMap<SocketAddr, NodeId>,
    /// When a peer that knows us directly pinged last.
    pinged: Option<Timestamp>,
    pub(super) refusals: Refusals,
    pub(super) spares: Spares,
    /// By which addresses of IPv4 are reached, on a host without it.
    pub(super) nat64: Option<Prefix>,
}

struct Known {
    key: PublicKey,
    next_key: Option<PublicKey>,
    sealer: Sealer,
    relay: Option<SocketAddr>,
}

impl Probing {
    pub(super) fn new(probe_key: &Secret, spares: mpsc::Sender<SpareProbe>) -> Self {
        Self {
            secret: ProbeSecret::new(probe_key.private_key()),
            paths: Paths::new(Box::new(OsRng.unwrap_err())),
            peers: BTreeMap::new(),
            unrelayed: BTreeSet::new(),
            owners: Owners::default(),
            by_key: HashMap::new(),
            by_relay: HashMap::new(),
            by_way: HashMap::new(),
            pinged: None,
            refusals: Refusals::default(),
            spares: Spares::new(spares),
            nat64: None,
        }
    }

    pub(super) const fn public_key(&self) -> PublicKey {
        self.secret.public_key()
    }

    /// Whether a peer has pinged of late: it sends packets, or will, and is told how many arrive.
    pub(super) fn was_pinged(&self, now: Timestamp) -> bool {
        self.pinged.is_some_and(|at| now - at < PINGED)
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Takes a peer; gives it back if it has no probe key of its own.
    pub(super) fn set(
        &mut self,
        peer: PathPeer,
        now: Timestamp,
    ) -> Result<Vec<PathChange>, Box<PathPeer>> {
        let before = self.take_out(&peer.id);
        let relay_before = before.as_ref().and_then(|known| known.relay);
        let key_before = before.as_ref().map(|known| known.sealer.theirs());
        if let Some(other) = key_before.filter(|key| Some(*key) != peer.probe_key) {
            self.owners.give_up(&other, &peer.id);
        }
        let sealer = before
            .map(|known| known.sealer)
            .filter(|sealer| Some(sealer.theirs()) == peer.probe_key)
            .or_else(|| self.secret.with(peer.probe_key?));
        let Some(sealer) = sealer else {
            self.paths.remove(&peer.id, now);
            return Err(Box::new(peer));
        };
        // A key is whose it is now: who names it as the next takes it from nobody.
        if let Some(next) = peer.next_key {
            self.by_key.entry(next).or_insert(peer.id);
        }
        self.by_key.insert(peer.key, peer.id);
        self.owners.claim(sealer.theirs(), peer.id);
        if let Some(relay) = peer.relay {
            self.by_relay.insert(relay, peer.id);
        }
        let PathPeer { id, key, next_key, relay, kinds, .. } = peer;
        self.peers.insert(id, Known { key, next_key, sealer, relay });
        if kinds.has(PathKind::Relay) {
            self.unrelayed.remove(&id);
        } else {
            self.unrelayed.insert(id);
        }
        let theirs = Theirs { at: peer.endpoints, relay: relay.is_some(), kinds };
        self.paths.set(id, theirs, now);
        let at_relay = relay.filter(|relay| relay_before != Some(*relay)).map(PathChange::Relay);
        // The engine would use its relay, or from where it is heard.
        let may_all = kinds.and(self.paths.rule().kinds()).is_all();
        let nowhere = !may_all && self.paths.choice(&id) == Some(Choice::Nowhere);
        let nowhere = nowhere.then_some(PathChange::Nowhere);
        Ok(at_relay.into_iter().chain(nowhere).collect())
    }

    /// Whether packets of some peer find no way before one is looked for: no relay may take them.
    pub(super) fn begins_nowhere(&self) -> bool {
        let any = !self.peers.is_empty() && !self.paths.rule().kinds().has(PathKind::Relay);
        any || !self.unrelayed.is_empty()
    }

    /// By these addresses packets for a peer reach others that relay now.
    pub(super) fn set_relays(&mut self, id: NodeId, by: &[SocketAddr], now: Timestamp) {
        self.by_way.retain(|_, of| *of != id);
        if self.peers.contains_key(&id) {
            self.by_way.extend(by.iter().map(|at| (*at, id)));
            self.paths.set_relays(id, by, now);
        }
    }

    pub(super) fn remove(&mut self, id: &NodeId, now: Timestamp) {
        self.by_way.retain(|_, of| of != id);
        self.paths.remove(id, now);
        if let Some(gone) = self.take_out(id) {
            self.owners.give_up(&gone.sealer.theirs(), id);
        }
    }

    fn take_out(&mut self, id: &NodeId) -> Option<Known> {
        let gone = self.peers.remove(id)?;
        self.unrelayed.remove(id);
        for key in [Some(gone.key), gone.next_key].into_iter().flatten() {
            if self.by_key.get(&key) == Some(id) {
                self.by_key.remove(&key);
            }
        }
        if let Some(relay) = gone.relay {
            self.by_relay.remove(&relay);
        }
        Some(gone)
    }

    pub(super) fn relayed(&mut self, relay: SocketAddr, now: Timestamp) {
        if let Some(&id) = self.by_relay.get(&relay) {
            self.paths.wake_up(id, now);
        }
    }

    pub(super) fn observe(&mut self, traffic: &[Traffic], now: Timestamp) {
        for traffic in traffic {
            let Some(&id) = self.by_key.get(&traffic.public_key) else { continue };
            let observed = Observed {
                sent: traffic.tx_bytes,
                received: traffic.rx_bytes,
                messages: traffic.messages,
                stuck: traffic.stuck,
            };
            self.paths.observe(id, observed, now);
        }
    }

    /// Takes one that came on a spare socket.
    pub(super) fn take_spare(&mut self, (socket, from, datagram): &SpareProbe, now: Timestamp) {
        let via = Via::Direct(Route { socket: *socket, to: *from });
        let opened = self.open(datagram, None);
        let taken = opened.and_then(|(id, probe)| self.paths.handle_probe(id, via, &probe, now));
        if let Err(refusal) = taken {
            self.refusals.count(refusal);
        }
    }

    /// Takes a probe. One that is not what it should be is counted.
    pub(super) fn take(&mut self, from: SocketAddr, datagram: &[u8], now: Timestamp) {
        if let Err(refusal) = self.try_take(from, datagram, now) {
            tracing::trace!(%from, reason = refusal.label(), "a probe is refused");
            self.refusals.count(refusal);
        }
    }

    fn try_take(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let relayed = self.by_relay.get(&from).copied();
        let by_peer = self.by_way.get(&from).copied();
        if relayed.or(by_peer).is_none() && from.ip().is_loopback() {
            return Err(Refusal::WrongWay);
        }
        let (id, mut probe) = self.open(datagram, relayed.or(by_peer))?;
        if let (Some(prefix), Probe::Call(call)) = (self.nat64, &mut probe) {
            call.at.iter_mut().chain(&mut call.mapped).for_each(|at| *at = prefix.reach(*at));
        }
        // Only a relay of the network's own is believed who speaks.
        if relayed.is_some() && matches!(probe, Probe::Call(_)) {
            self.prove(datagram, id);
        }
        let via = relayed.map_or_else(|| Via::Direct(Route::from(from)), |_| Via::Relay);
        if matches!((via, &probe), (Via::Direct(_), Probe::Ping { .. })) {
            self.pinged = Some(now);
        }
        self.paths.handle_probe(id, via, &probe, now)
    }

    /// Whose a probe is, which came through the relay from this peer or directly, and what it says.
    fn open(&self, datagram: &[u8], relayed: Option<NodeId>) -> Result<(NodeId, Probe), Refusal> {
        let sender = sender(datagram).map_err(|_| Refusal::Malformed)?;
        let id = self.owners.speaker(&sender, relayed).ok_or_else(|| {
            // By the relay, but as somebody else.
            let other = relayed.is_some() && self.owners.is_known(&sender);
            if other { Refusal::WrongWay } else { Refusal::Stranger }
        })?;
        let peer = self.peers.get(&id).ok_or(Refusal::Stranger)?;
        let probe = peer.sealer.open(datagram).map_err(|error| match error {
            ProbeError::Malformed => Refusal::Malformed,
            ProbeError::Seal => Refusal::Seal,
        })?;
        Ok((id, probe))
    }

    fn prove(&mut self, datagram: &[u8], id: NodeId) {
        if let Ok(sender) = sender(datagram) {
            self.owners.prove(&sender, id);
        }
    }

    pub(super) fn steps(&mut self) -> Steps {
        let mut steps = Steps::default();
        while let Some(action) = self.paths.poll_action() {
            match action {
                Action::Send { peer, via, probe, whole } => {
                    let Some(known) = self.peers.get(&peer) else { continue };
                    let sealed = known.sealer.seal(&probe, nonce());
                    let length = if whole { Length::Tried } else { Length::Any };
                    match via {
                        Via::Relay => {
                            steps.sends.extend(known.relay.map(|relay| (relay, sealed, length)));
                        }
                        Via::Direct(Route { socket: SocketId::MAIN, to }) => {
                            steps.sends.push((to, sealed, length));
                        }
                        Via::Direct(Route { socket, to }) => self.spares.send(socket, to, &sealed),
                    }
                }
                Action::Greet { peer } => {
                    let known = self.peers.get(&peer);
                    let at_relay = known.and_then(|known| Some((known.key, known.relay?)));
                    let greeting = |(key, relay)| (key, PathChange::Hold(relay));
                    steps.changes.extend(at_relay.map(greeting));
                }
                Action::Renew { peer, at } => {
                    let Some(known) = self.peers.get(&peer) else { continue };
                    steps.changes.push((known.key, PathChange::Probe(vec![at])));
                }
                Action::Fits { peer, bytes } => {
                    let Some(known) = self.peers.get(&peer) else { continue };
                    tracing::debug!(%peer, bytes, "the longest packet");
                    steps.changes.push((known.key, PathChange::Fits(bytes)));
                }
                Action::Use { peer, choice } => {
                    let Some(known) = self.peers.get(&peer) else { continue };
                    steps.relayed |= choice == Choice::Relay;
                    let change = match choice {
                        Choice::Nowhere => PathChange::Nowhere,
                        Choice::Relay => known.relay.map_or(PathChange::Nowhere, PathChange::Hold),
                        Choice::Direct(route) => {
                            let spare = self.spares.lead(route.socket, route.to);
                            PathChange::Hold(spare.unwrap_or(route.to))
                        }
                    };
                    tracing::debug!(%peer, ?change, "another way");
                    steps.changes.push((known.key, change));
                }
                Action::OpenSpares { first, count, .. } => self.spares.open(first, count),
                Action::CloseSpares { first, count, except } => {
                    self.spares.close(first, count, &except);
                }
            }
        }
        steps
    }
}

fn nonce() -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    OsRng.unwrap_err().fill_bytes(&mut nonce);
    nonce
}

#[cfg(test)]
mod tests {
    use proto::control::PathKinds;
    use proto::key::PrivateKey;
    use proto::probe::{Call, PingId, Received};

    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(100));
    const LIAR: NodeId = NodeId([1; 16]);
    const OWNER: NodeId = NodeId([2; 16]);

    fn peer(id: NodeId, key: u8, probe_key: PublicKey) -> PathPeer {
        PathPeer {
            id,
            key: PublicKey::from([key; 32]),
            next_key: None,
            probe_key: Some(probe_key),
            endpoints: Vec::new(),
            relay: Some(([127, 1, 0, key], 9).into()),
            kinds: PathKinds::ALL,
        }
    }

    /// Arrived messages, as the answer to a ping tells them.
    fn told(probing: &mut Probing, sealer: &Sealer, id: u8) -> u32 {
        let ping = Probe::Ping { id: PingId([id; 12]), room: 0 };
        let at = ([192, 0, 2, 7], 7).into();
        probing.try_take(at, &sealer.seal(&ping, nonce()), NOW).unwrap();
        let sends = probing.steps().sends;
        let mut told = sends.iter().filter_map(|(_, sealed, _)| match sealer.open(sealed) {
            Ok(Probe::Pong(pong)) => Some(pong.received.arrived),
            _ => None,
        });
        told.next_back().unwrap()
    }

    #[test]
    fn what_arrives_by_a_peers_next_key_is_counted_and_by_anothers_is_not() {
        let owner = ProbeSecret::new(&PrivateKey::from([8; 32]));
        let ours = Secret::generate().unwrap();
        let (say, _spares) = mpsc::channel(1);
        let mut probing = Probing::new(&ours, say);
        let next = |next| Some(PublicKey::from([next; 32]));
        let other = ProbeSecret::new(&PrivateKey::from([9; 32]));
        let liar = PathPeer { next_key: next(2), ..peer(LIAR, 1, other.public_key()) };
        let changing = PathPeer { next_key: next(3), ..peer(OWNER, 2, owner.public_key()) };
        for peer in [liar, changing] {
            probing.set(peer, NOW).ok().unwrap();
        }
        let sealer = owner.with(probing.public_key()).unwrap();
        let arrived = |key, arrived| Traffic {
            public_key: PublicKey::from([key; 32]),
            tx_bytes: 0,
            rx_bytes: u64::from(arrived),
            messages: Received { expected: arrived, arrived },
            stuck: 0,
        };
        probing.observe(&[arrived(2, 7)], NOW);
        assert_eq!(told(&mut probing, &sealer, 1), 7);
        probing.observe(&[arrived(3, 9)], NOW);
        assert_eq!(told(&mut probing, &sealer, 2), 9);
        probing.set(peer(OWNER, 3, owner.public_key()), NOW).ok().unwrap();
        probing.observe(&[arrived(2, 1)], NOW);
        assert_eq!(told(&mut probing, &sealer, 3), 9);
    }

    #[test]
    fn a_member_that_names_anothers_probe_key_does_not_take_over_its_ways() {
        let owner = ProbeSecret::new(&PrivateKey::from([8; 32]));
        let ours = Secret::generate().unwrap();
        let (say, _spares) = mpsc::channel(1);
        let mut probing = Probing::new(&ours, say);
        for (id, key) in [(LIAR, 1), (OWNER, 2)] {
            probing.set(peer(id, key, owner.public_key()), NOW).ok().unwrap();
            probing.relayed(([127, 1, 0, key], 9).into(), NOW);
        }
        let sealer = owner.with(probing.public_key()).unwrap();
        let seal = |probe: &Probe| sealer.seal(probe, nonce());
        let at: SocketAddr = ([192, 0, 2, 7], 7).into();
        let ping = |id| seal(&Probe::Ping { id: PingId([id; 12]), room: 0 });
        let ways = |probing: &Probing, id| {
            probing.paths.explain(&id, NOW).map_or(0, |explained| explained.candidates.len())
        };
        assert_eq!(
            probing.try_take(at, &ping(1), NOW),
            Err(Refusal::Stranger),
            "whose is not known"
        );
        let call = seal(&Probe::Call(Call { answers: true, at: vec![at], ..Call::default() }));
        assert_eq!(probing.try_take(([127, 1, 0, 2], 9).into(), &call, NOW), Ok(()));
        assert_eq!(probing.try_take(at, &ping(2), NOW), Ok(()));
        assert_eq!((ways(&probing, LIAR), ways(&probing, OWNER)), (0, 1));
        // Not even when the control plane says all of it again.
        for (id, key) in [(LIAR, 1), (OWNER, 2)] {
            probing.set(peer(id, key, owner.public_key()), NOW).ok().unwrap();
        }
        assert_eq!(probing.try_take(at, &ping(3), NOW), Ok(()));
        assert_eq!((ways(&probing, LIAR), ways(&probing, OWNER)), (0, 1));
        probing.remove(&LIAR, NOW);
        assert_eq!(probing.try_take(at, &ping(4), NOW), Ok(()));
    }
}
