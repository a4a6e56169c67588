//! Another number of shards: every peer moves, with its sessions, to the shard that owns it now.

use std::cmp::Reverse;
use std::mem;

use dataplane_common::{ShardId, Shards, Slot};
use rand::Rng as _;

use crate::node::{Engine, Place, Settings};
use crate::peer::Peer;
use crate::time::Timestamp;

impl Engine {
    /// Makes all shards of a node into so many. No session, waiting packet or counter is lost.
    #[must_use]
    pub fn reshard(mut engines: Vec<Self>, shards: Shards, now: Timestamp) -> Vec<Self> {
        let Some(first) = engines.first() else { return engines };
        let slots = first.peers.len();
        let peers: Vec<Option<Peer>> =
            (0..).map(Slot).take(slots).map(|slot| owned(&mut engines, slot)).collect();
        let mask = engines[0].place.mask;
        let places = (0..shards.count()).map(|id| Place { shard: ShardId(id), shards, mask });
        let mut new: Vec<Self> = places.map(|place| engines[0].sibling(place, now)).collect();
        for (slot, peer) in (0..).map(Slot).zip(peers) {
            let owner = shards.owner(slot);
            for engine in &mut new {
                let elsewhere = engine.place.other_owner(slot).is_some();
                engine.peers.push(peer.as_ref().filter(|_| elsewhere).map(Peer::stub));
            }
            if let (Some(peer), Some(engine)) = (peer, new.get_mut(owner.0 as usize)) {
                engine.wakes.extend(peer.wake.map(|wake| Reverse((wake.at, slot))));
                engine.peers[slot.0 as usize] = Some(peer);
            }
        }
        for old in engines {
            new[0].handed_over += old.handed_over;
            new[0].handshakes.extend(old.handshakes);
            for (reason, packets) in old.drops.iter() {
                new[0].drops.add(reason, packets);
            }
        }
        new
    }

    /// An engine with the same configuration and no peers yet.
    fn sibling(&mut self, place: Place, now: Timestamp) -> Self {
        let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        let mut new = Self::new(Settings { mtu, seed: self.rng.random(), place });
        new.up = self.up;
        new.set_key(self.private_key().cloned(), now);
        new.free = self.free.clone();
        new.by_key = self.by_key.clone();
        new.allowed_ips = self.allowed_ips.clone();
        new
    }
}

/// The peer in this slot as its owner has it.
fn owned(engines: &mut [Engine], slot: Slot) -> Option<Peer> {
    let owner = engines.first()?.place.shards.owner(slot);
    mem::take(engines.get_mut(owner.0 as usize)?.peers.get_mut(slot.0 as usize)?)
}

impl Peer {
    /// The peer as shards know it that do not own it: its configuration.
    fn stub(&self) -> Self {
        Self {
            next_key: self.next_key,
            former_key: self.former_key,
            preshared_key: self.preshared_key.clone(),
            endpoint: self.endpoint,
            relay: self.relay,
            persistent_keepalive: self.persistent_keepalive,
            ..Self::new(self.public_key)
        }
    }
}
