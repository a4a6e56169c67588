//! Ways to peers: what comes on the WireGuard port beside its messages, and what the choice wants done.

use std::net::SocketAddr;
use std::time::Duration;

use engine::PathChange;
use proto::probe::is_probe;

use super::Mesh;
use crate::io::clock;
use crate::mesh::relay::RelayNews;

/// Traffic this much older than the last look is asked for again: the clocks of shards are a moment behind.
const BEHIND: Duration = Duration::from_millis(100);

/// More than ways of Ethernet carry: the host may have been told to send less before it was known.
const LONG: usize = 1500;

impl Mesh {
    /// Takes a datagram that is not for the engine.
    pub(super) async fn take_aside(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = clock::now();
        if is_probe(datagram) {
            self.paths.take(from, datagram, now);
            self.walk_paths().await;
        } else if self.awaited.take(datagram) {
            tracing::debug!(%from, "the router brings back what is sent to itself");
        } else if self.whereabouts.answer(datagram, now) {
            self.mapper.doubt();
            self.gather().await;
            self.tell_paths();
            self.settle_home().await;
        }
    }

    /// Takes what relays have to say.
    pub(super) async fn hear_relays(&mut self, news: RelayNews) {
        let now = clock::now();
        match news {
            RelayNews::Busy(relay) => self.paths.relayed(relay, now),
            RelayNews::Open(open) => {
                for peer in self.links.set_open(open) {
                    self.paths.set_relays(peer, &self.links.open_ways(&peer), now);
                }
            }
        }
        self.walk_paths().await;
    }

    /// Lets time pass for paths, and does what they want done.
    pub(super) async fn walk_paths(&mut self) {
        self.paths.handle_timeout(clock::now());
        let steps = self.paths.steps();
        if steps.sends.is_empty() && steps.changes.is_empty() {
            return;
        }
        let is_longer =
            |change: &PathChange| matches!(change, PathChange::Fits(bytes) if *bytes > LONG);
        if steps.changes.iter().any(|(_, change)| is_longer(change)) {
            self.interface.forget_lengths().await;
        }
        {
            let node = self.node.lock().await;
            for (to, probe, length) in steps.sends {
                node.send_from_port(to, &probe, length);
            }
            if !steps.changes.is_empty() {
                node.change_paths(steps.changes);
            }
        }
        // Our own router may have been started anew.
        if steps.relayed {
            self.mapper.doubt();
            if self.whereabouts.ask_soon(clock::now()) {
                self.ask_relays().await;
            }
        }
    }

    /// Asks the engine what it has counted since the last time.
    pub(super) async fn count_traffic(&mut self) {
        let now = clock::now();
        let since = engine::Timestamp::from_epoch(self.looked.since_epoch().saturating_sub(BEHIND));
        self.looked = now;
        let traffic = self.node.lock().await.traffic(since).await.unwrap_or_default();
        if !traffic.is_empty() {
            self.paths.observe(&traffic, now);
            self.walk_paths().await;
        }
    }

    /// This node may be reached elsewhere.
    pub(super) fn tell_paths(&mut self) {
        if let Some(netmap) = self.netmap.get() {
            let own =
                self.whereabouts.own(netmap, self.keys.settings().path, self.interface.local.mtu);
            self.paths.set_own(own, clock::now());
        }
    }
}
