//! Changes of keys that lose nothing: sessions do not depend on the keys that made them, so the old
//! ones serve until new ones are there.

use dataplane_common::Slot;
use proto::key::{PrivateKey, PublicKey};
use rand::Rng as _;

use crate::node::{Engine, Key, tunnel};
use crate::noise::Tunnel;
use crate::peer::Wake;
use crate::time::Timestamp;

/// What becomes of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The node uses this key from now on.
    Own(PrivateKey),
    /// A peer may use another key any moment, or will not after all.
    Expect {
        /// Whom this is about.
        peer: PublicKey,
        /// The key.
        next: Option<PublicKey>,
    },
    /// A peer uses another key from now on.
    Rename {
        /// Its key so far.
        peer: PublicKey,
        /// Its key now.
        to: PublicKey,
    },
}

impl Engine {
    /// Makes a change of keys. Unlike those of [`Self::configure`] it ends no session.
    pub fn change_key(&mut self, change: &KeyChange, now: Timestamp) {
        match change {
            KeyChange::Own(private) => self.rotate(private.clone(), now),
            KeyChange::Expect { peer, next } => self.expect(peer, *next),
            KeyChange::Rename { peer, to } => self.rename(peer, *to, now),
        }
    }

    fn rotate(&mut self, private: PrivateKey, now: Timestamp) {
        if self.private_key() == Some(&private) {
            return;
        }
        self.key = Some(Key::new(private, self.rng.random(), now));
        for slot in (0..).map(Slot).take(self.peers.len()) {
            let Some(peer) = self.peer_mut(slot) else { continue };
            let key = peer.public_key;
            if let Some(new) = self.tunnel_for(slot, key, now) {
                self.succeed(slot, new, now);
            }
        }
    }

    fn expect(&mut self, peer: &PublicKey, next: Option<PublicKey>) {
        let Some(&slot) = self.by_key.get(peer) else { return };
        let taken = next.is_some_and(|next| self.by_key.get(&next).is_some_and(|at| *at != slot));
        let Some(peer) = self.peer_mut(slot) else { return };
        if taken || next == Some(peer.public_key) {
            return;
        }
        let before = std::mem::replace(&mut peer.next_key, next);
        if let Some(before) = before {
            self.by_key.remove(&before);
        }
        if let Some(next) = next {
            self.by_key.insert(next, slot);
        }
    }

    fn rename(&mut self, peer: &PublicKey, to: PublicKey, now: Timestamp) {
        let Some(&slot) = self.by_key.get(peer) else { return };
        if self.by_key.get(&to).is_some_and(|at| *at != slot) || self.public_key() == Some(to) {
            return;
        }
        let Some(known) = self.peer_mut(slot) else { return };
        if known.public_key != to {
            let new = self.tunnel_for(slot, to, now);
            match new {
                Some(new) => self.replace_tunnel(slot, to, new, now),
                None => self.replace_key(slot, to),
            }
        }
        // Nobody means it by its old key any more.
        let Some(known) = self.peer_mut(slot) else { return };
        let (former, next) = (known.former_key.take(), known.next_key.take());
        for key in [former, next].into_iter().flatten().filter(|key| *key != to) {
            self.by_key.remove(&key);
        }
    }

    /// A tunnel with this peer, if it is this shard's.
    pub(crate) fn tunnel_for(
        &self,
        slot: Slot,
        key: PublicKey,
        now: Timestamp,
    ) -> Option<Box<Tunnel>> {
        let peer = self.peers.get(slot.0 as usize)?.as_ref()?;
        tunnel(self.key.as_ref(), peer, key, slot, self.place, now)
    }

    /// The peer has another key, by which it has this tunnel.
    pub(crate) fn replace_tunnel(
        &mut self,
        slot: Slot,
        key: PublicKey,
        new: Box<Tunnel>,
        now: Timestamp,
    ) {
        self.replace_key(slot, key);
        self.succeed(slot, new, now);
    }

    fn replace_key(&mut self, slot: Slot, key: PublicKey) {
        let Some(peer) = self.peer_mut(slot) else { return };
        let before = std::mem::replace(&mut peer.public_key, key);
        let older = peer.former_key.replace(before);
        let next = peer.next_key.take();
        for gone in [older, next].into_iter().flatten() {
            self.by_key.remove(&gone);
        }
        self.by_key.insert(before, slot);
        self.by_key.insert(key, slot);
    }

    fn succeed(&mut self, slot: Slot, new: Box<Tunnel>, now: Timestamp) {
        let Some(peer) = self.peer_mut(slot) else { return };
        let new = match peer.tunnel.take() {
            Some(old) => Box::new(new.succeed(old, now)),
            None => new,
        };
        peer.ask = new.needs_own_session();
        let ask = peer.ask;
        peer.tunnel = Some(new);
        if ask {
            self.wake(slot, Wake { at: now, reason: "a session by other keys" });
        }
    }
}
