//! Ways by peers that relay: looked for when packets of a peer have gone by regions' relays for a while.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::plan::{Place, Plan};
use super::port::PeerNumber;
use super::{Task, UNUSED};

/// How often is looked what is missing.
const EVERY: Duration = Duration::from_millis(250);
/// A direct way is found in this time, if there is one; then a node that relays is worth a connection.
const PATIENCE: Duration = Duration::from_millis(500);
/// Packets that are further apart than this are not the same traffic.
const TOGETHER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(super) struct ByPeers {
    /// Peers whose packets go by regions' relays: since when, and the last.
    relayed: HashMap<PeerNumber, (Instant, Instant)>,
    looked: Option<Instant>,
    /// Whether lanes may have come or gone.
    pub(super) changed: bool,
}

impl ByPeers {
    /// A peer's packets go by regions' relays. Probes are none.
    pub(super) fn note(&mut self, peer: PeerNumber, plan: &Plan) {
        if plan.peer_relays.is_empty() || !plan.peers.contains_key(&peer) {
            return;
        }
        let now = Instant::now();
        let (since, last) = self.relayed.entry(peer).or_insert((now, now));
        if now.saturating_duration_since(*last) > TOGETHER {
            *since = now;
        }
        *last = now;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let looked = self.looked?;
        (!self.relayed.is_empty()).then_some(looked + EVERY)
    }

    /// The peers for which a way is wanted, if it is time to look.
    fn wanted(&mut self) -> Option<Vec<PeerNumber>> {
        let now = Instant::now();
        if self.looked.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return None;
        }
        self.looked = Some(now);
        self.relayed.retain(|_, (_, last)| now.saturating_duration_since(*last) <= TOGETHER);
        let long =
            |(since, _): &(Instant, Instant)| now.saturating_duration_since(*since) >= PATIENCE;
        Some(self.relayed.iter().filter(|(_, times)| long(times)).map(|(peer, _)| *peer).collect())
    }
}

impl Task {
    /// Connects to peers that relay where that may help, and asks them for lanes.
    pub(super) fn look_for_peer_relays(&mut self) {
        let Some(wanted) = self.by_peers.wanted() else { return };
        let before = self.clients.len();
        self.clients.retain(|(place, _), client| {
            matches!(place, Place::Region(_)) || client.used.elapsed() <= UNUSED
        });
        if self.clients.len() < before {
            self.end_lanes();
        }
        let Some((key, _)) = self.plan.tickets.first().copied() else { return };
        for peer in wanted {
            let Some(to) = self.plan.peers.get(&peer).and_then(|peer| peer.keys.first()).copied()
            else {
                continue;
            };
            let relays: Vec<_> =
                self.plan.ways.values().filter(|way| way.to == peer).map(|way| way.by).collect();
            for relay in relays {
                let id = (Place::Peer(relay), key);
                self.visit(id);
                if let Some(client) = self.clients.get_mut(&id) {
                    client.want_lane(to);
                }
            }
        }
    }

    /// Says by which ways packets can go now, if that may be news.
    pub(super) fn say_open_ways(&mut self) {
        if !std::mem::take(&mut self.by_peers.changed) {
            return;
        }
        let Some((key, _)) = self.plan.tickets.first().copied() else { return };
        let is_open = |number: &PeerNumber| {
            let way = self.plan.ways.get(number)?;
            let to = self.plan.peers.get(&way.to)?.keys.first()?;
            Some(self.clients.get(&(Place::Peer(way.by), key))?.has_lane_to(to))
        };
        let all = self.plan.ways.keys().copied();
        let open: BTreeSet<_> = all.filter(|number| is_open(number) == Some(true)).collect();
        self.open_ways.send_if_modified(|said| {
            let is_new = *said != open;
            *said = open;
            is_new
        });
    }
}
