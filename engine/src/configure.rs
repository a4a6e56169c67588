//! Changes of keys and peers while running.

use std::cmp::Reverse;

use dataplane_common::Slot;
use proto::key::PublicKey;
use proto::uapi::{AllowedIpChange, PeerChange, Set};

use crate::allowed_ips::AllowedIps;
use crate::node::{Engine, PEER_LIMIT};
use crate::output::{Endpoint, Output};
use crate::peer::Wake;
use crate::time::Timestamp;

/// A change that was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// More peers than session indices could name.
    #[error("more than {PEER_LIMIT} peers")]
    TooManyPeers,
}

impl Engine {
    /// Whether [`Self::configure`] would refuse this.
    pub fn check(&self, set: &Set) -> Result<(), ConfigureError> {
        let kept = if set.replace_peers { 0 } else { self.by_key.len() };
        let fits = kept + set.peers.len() <= PEER_LIMIT;
        fits.then_some(()).ok_or(ConfigureError::TooManyPeers)
    }

    /// Applies what a `set` says of the private key and of peers, all of it or nothing.
    ///
    /// What it says of the port and the mark is the shell's. A peer with our own public key is
    /// ignored, as the kernel does.
    pub fn configure(
        &mut self,
        set: &Set,
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), ConfigureError> {
        self.check(set)?;
        let new_key = set.private_key.as_ref().filter(|key| key.as_ref() != self.private_key());
        if let Some(key) = new_key {
            self.set_key(key.clone(), now);
        }
        if set.replace_peers {
            self.remove_all_peers();
        } else if let Some(own) = self.public_key()
            && let Some(&id) = self.by_key.get(&own)
        {
            self.remove_peer(id);
        }
        for change in &set.peers {
            self.configure_peer(change, now, out);
        }
        if new_key.is_some() {
            self.greet_peers(now, out);
        }
        Ok(())
    }

    /// Peers that want to be kept alive are greeted.
    pub(crate) fn greet_peers(&mut self, now: Timestamp, out: &mut Output) {
        for slot in (0..).map(Slot).take(self.peers.len()) {
            self.greet(slot, now, out);
        }
    }

    fn configure_peer(&mut self, change: &PeerChange, now: Timestamp, out: &mut Output) {
        let Some(id) = self.find_or_add(change, now) else { return };
        if change.remove {
            self.remove_peer(id);
            return;
        }
        self.configure_allowed_ips(id, change);
        let Some(peer) = self.peer_mut(id) else { return };
        if let Some(address) = change.endpoint {
            peer.endpoint = Some(Endpoint::from(address));
        }
        let was_kept_alive = peer.persistent_keepalive > 0;
        if let Some(seconds) = change.persistent_keepalive {
            peer.persistent_keepalive = seconds;
        }
        let greet = peer.persistent_keepalive > 0 && !was_kept_alive;
        if let Some(preshared) = &change.preshared_key
            && *preshared != peer.preshared_key
        {
            peer.preshared_key = preshared.clone();
            self.renew_tunnel(id, now);
        }
        if greet {
            self.greet(id, now, out);
        } else {
            // Its interval may be another one now.
            self.look_after(id, now, out);
        }
    }

    fn configure_allowed_ips(&mut self, id: Slot, change: &PeerChange) {
        if change.replace_allowed_ips {
            self.allowed_ips.remove_all(id);
        }
        for change in &change.allowed_ips {
            match *change {
                AllowedIpChange::Add(network) => self.allowed_ips.insert(network, id),
                AllowedIpChange::Remove(network) => self.allowed_ips.remove(network, id),
            }
        }
    }

    fn find_or_add(&mut self, change: &PeerChange, now: Timestamp) -> Option<Slot> {
        if let Some(&id) = self.by_key.get(&change.public_key) {
            return Some(id);
        }
        let own: Option<PublicKey> = self.public_key();
        let wanted = !change.remove && !change.update_only && own != Some(change.public_key);
        wanted.then(|| self.add_peer(change.public_key, now))
    }

    fn remove_all_peers(&mut self) {
        self.free.extend(self.by_key.drain().map(|(_, slot)| slot));
        // The lowest slots first, alike in all shards, whose hash tables differ in order.
        self.free.sort_unstable_by_key(|slot| Reverse(*slot));
        // While its key changes, a peer has more than one.
        self.free.dedup();
        self.peers.fill_with(|| None);
        self.allowed_ips = AllowedIps::default();
    }

    /// Asks for a keepalive at once, or rather soon: thousands of peers may be greeted together.
    fn greet(&mut self, id: Slot, now: Timestamp, out: &mut Output) {
        self.look_after(id, now, out);
        if self.up
            && let Some(peer) = self.peer_mut(id)
            && peer.persistent_keepalive > 0
        {
            peer.greet = true;
            self.wake(id, Wake { at: now, reason: "a greeting" });
        }
    }
}
