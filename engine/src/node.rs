//! The engine's state and who may find what in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use dataplane_common::{IndexMask, ShardId, Shards, Slot};
use proto::key::{PrivateKey, PublicKey};
use proto::message::SessionIndex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::allowed_ips::AllowedIps;
use crate::backlog::Backlog;
use crate::drops::Drops;
use crate::noise::{Gate, Identity, Tunnel};
use crate::output::{Endpoint, Output};
use crate::peer::Peer;
use crate::time::Timestamp;

/// The most peers of one node: what a session index can name, with room to spare.
pub(crate) const PEER_LIMIT: usize = 1 << 20;
/// What an engine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The tunnel interface's MTU, in bytes.
    pub mtu: u16,
    /// Where the engine's random choices (jitter, hashes) start; keys do not come from it.
    pub seed: u64,
    /// Which part of the node this engine is.
    pub place: Place,
}

/// One shard of a node. Every shard is told of all peers and owns those whose slot names it: only
/// the owner has their sessions and timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// This one.
    pub shard: ShardId,
    /// Of how many.
    pub shards: Shards,
    /// The same for all shards of a node. It differs from run to run, so that the session indices
    /// of a dead run name nothing.
    pub mask: IndexMask,
}

impl Place {
    /// The only shard of a node.
    #[must_use]
    pub const fn alone(mask: IndexMask) -> Self {
        Self { shard: ShardId::FIRST, shards: Shards::ONE, mask }
    }

    /// The shard that owns the peer in this slot, unless it is this one.
    pub(crate) fn other_owner(self, slot: Slot) -> Option<ShardId> {
        let owner = self.shards.owner(slot);
        (owner != self.shard).then_some(owner)
    }
}

/// One node: its key, its peers, their sessions and timers.
pub struct Engine {
    pub(crate) mtu: usize,
    pub(crate) up: bool,
    pub(crate) key: Option<Key>,
    pub(crate) peers: Vec<Option<Peer>>,
    pub(crate) free: Vec<Slot>,
    pub(crate) by_key: HashMap<PublicKey, Slot>,
    pub(crate) allowed_ips: AllowedIps<Slot>,
    /// When peers' timers are due. An entry counts only if the peer's `wake` says the same.
    pub(crate) wakes: BinaryHeap<Reverse<(Timestamp, Slot)>>,
    /// Handshake messages that were let in and wait to be computed.
    pub(crate) handshakes: VecDeque<(Endpoint, Box<[u8]>)>,
    pub(crate) handed_over: u64,
    pub(crate) host_queue: Backlog,
    pub(crate) network_queue: Backlog,
    pub(crate) drops: Drops,
    pub(crate) rng: SmallRng,
    pub(crate) place: Place,
}

/// The private key and what is made from it.
pub(crate) struct Key {
    pub(crate) private: PrivateKey,
    pub(crate) identity: Identity,
    pub(crate) gate: Gate,
}

impl Key {
    pub(crate) fn new(private: PrivateKey, hash_seed: u64, now: Timestamp) -> Self {
        let identity = Identity::new(&private, now);
        let gate = Gate::new(&identity, hash_seed, now);
        Self { private, identity, gate }
    }
}

impl Engine {
    /// A node with no key and no peers.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            mtu: settings.mtu.into(),
            up: true,
            key: None,
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            allowed_ips: AllowedIps::default(),
            wakes: BinaryHeap::new(),
            handshakes: VecDeque::new(),
            handed_over: 0,
            host_queue: Backlog::default(),
            network_queue: Backlog::default(),
            drops: Drops::default(),
            rng: SmallRng::seed_from_u64(settings.seed),
            place: settings.place,
        }
    }

    /// The tunnel interface's MTU has changed.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    /// The tunnel interface went up or down; at the start it is up. All sessions, handshakes and
    /// waiting packets are forgotten. Down, nothing is sent; up again, peers that want to be kept
    /// alive are greeted.
    pub fn set_up(&mut self, up: bool, now: Timestamp, out: &mut Output) {
        self.up = up;
        self.clear_sessions(now);
        self.greet_peers(now, out);
    }

    /// The host's queue was read: all there was, or less. One that never gets empty makes TCP
    /// flows that go through it slow down.
    pub fn note_host_queue(&mut self, drained: bool, now: Timestamp) {
        self.host_queue.note(drained, now);
    }

    /// As [`Self::note_host_queue`], for what arrives from the network.
    pub fn note_network_queue(&mut self, drained: bool, now: Timestamp) {
        self.network_queue.note(drained, now);
    }

    /// What was dropped so far, and why.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// For the shell, which drops packets too (a send that fails, a host that refuses).
    pub fn drops_mut(&mut self) -> &mut Drops {
        &mut self.drops
    }

    /// Our public key, if there is a private one.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.key.as_ref().map(|key| key.identity.public_key())
    }

    /// Forgets all sessions, handshakes and waiting packets.
    fn clear_sessions(&mut self, now: Timestamp) {
        self.wakes.clear();
        self.handshakes.clear();
        let place = self.place;
        for (slot, peer) in (0..).zip(&mut self.peers) {
            let Some(peer) = peer else { continue };
            peer.queue.clear();
            peer.wake = None;
            peer.tunnel = tunnel(self.key.as_ref(), peer, peer.public_key, Slot(slot), place, now);
        }
    }

    pub(crate) fn set_key(&mut self, private: Option<PrivateKey>, now: Timestamp) {
        let hash_seed = self.rng.random();
        self.key = private.map(|private| Key::new(private, hash_seed, now));
        self.clear_sessions(now);
    }

    pub(crate) fn peer_mut(&mut self, id: Slot) -> Option<&mut Peer> {
        self.peers.get_mut(id.0 as usize)?.as_mut()
    }

    /// The peer whose tunnel a receiver index names, if it is one.
    pub(crate) fn peer_of(&self, index: SessionIndex) -> Slot {
        self.place.mask.slot(index.0)
    }

    pub(crate) fn add_peer(&mut self, public_key: PublicKey, now: Timestamp) -> Slot {
        let id = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            // Bounded by PEER_LIMIT, so the cast is exact.
            Slot(u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX))
        });
        let mut peer = Peer::new(public_key);
        peer.tunnel = tunnel(self.key.as_ref(), &peer, public_key, id, self.place, now);
        self.peers[id.0 as usize] = Some(peer);
        self.by_key.insert(public_key, id);
        id
    }

    pub(crate) fn remove_peer(&mut self, id: Slot) {
        let Some(peer) = self.peers.get_mut(id.0 as usize).and_then(Option::take) else { return };
        let keys = [Some(peer.public_key), peer.next_key, peer.former_key];
        for key in keys.into_iter().flatten() {
            self.by_key.remove(&key);
        }
        self.allowed_ips.remove_all(id);
        self.free.push(id);
    }

    /// Starts a peer's tunnel anew: its key or preshared key is another one now.
    pub(crate) fn renew_tunnel(&mut self, id: Slot, now: Timestamp) {
        let place = self.place;
        if let Some(peer) = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut) {
            peer.tunnel = tunnel(self.key.as_ref(), peer, peer.public_key, id, place, now);
        }
    }
}

pub(crate) fn tunnel(
    key: Option<&Key>,
    peer: &Peer,
    public_key: PublicKey,
    id: Slot,
    place: Place,
    now: Timestamp,
) -> Option<Box<Tunnel>> {
    let key = key.filter(|_| place.other_owner(id).is_none())?;
    let preshared = peer.preshared_key.as_ref();
    let index = SessionIndex(place.mask.index(id, 0));
    Some(Box::new(Tunnel::new(&key.identity, public_key, preshared, index, now)))
}
