//! What one node is told of its peers.

use std::collections::{BTreeMap, BTreeSet};

use proto::control::{NodeId, PathKind, PeerPaths, Relaying};
use serde_json::value::RawValue;

use super::Told;
use crate::core::tenant::{Due, Seat, Tenant, Unwritable};

impl Told {
    /// Whether it was told of a peer without its endpoints.
    fn is_hidden(&self, peer: NodeId) -> bool {
        let limited = self.paths.get(&peer).is_some_and(|kinds| !kinds.has(PathKind::Direct));
        limited && !self.relaying.get(&peer).is_some_and(|relaying| relaying.serves)
    }

    /// Whether a peer has to be told: it is new, or what is heard of it is something else.
    fn takes(&mut self, peer: &Seat, hidden: bool) -> bool {
        let is_new = self.peers.insert(peer.slot);
        is_new || peer.changed > self.revision || hidden != self.is_hidden(peer.node.id)
    }

    /// Whether it knows a peer.
    fn knows(&self, tenant: &Tenant, peer: NodeId) -> bool {
        tenant.slot_of(peer).is_some_and(|slot| self.peers.contains(slot))
    }
}

/// The peers that it has to hear of, and those that are none any more.
pub(super) fn peers<'t>(
    tenant: &'t Tenant,
    id: NodeId,
    told: &mut Told,
    due: &Due,
) -> Result<(Vec<&'t RawValue>, Vec<NodeId>), Unwritable> {
    let (mut news, mut gone) = (Vec::new(), Vec::new());
    if !due.all {
        for (peer, is_peer) in &due.peers {
            match tenant.seat_of(*peer).filter(|_| *is_peer) {
                Some(seat) => {
                    let hidden = tenant.hides(id, *peer);
                    if told.takes(seat, hidden) {
                        news.push(tenant.heard(seat, hidden)?);
                    }
                }
                // Whom it never heard of, it does not hear to be gone.
                None => {
                    if tenant.slot_of(*peer).is_some_and(|slot| told.peers.remove(slot)) {
                        gone.push(*peer);
                    }
                }
            }
        }
        return Ok((news, gone));
    }
    let neighbours = tenant.neighbours(id);
    let known: Vec<_> = told.peers.iter().collect();
    for slot in known {
        if let Some(peer) = tenant.owner_of(slot)
            && (!neighbours.contains(&peer) || tenant.seat_of(peer).is_none())
        {
            told.peers.remove(slot);
            gone.push(peer);
        }
    }
    for seat in neighbours.iter().filter_map(|peer| tenant.seat_of(*peer)) {
        let hidden = tenant.hides(id, seat.node.id);
        if told.takes(seat, hidden) {
            news.push(tenant.heard(seat, hidden)?);
        }
    }
    Ok((news, gone))
}

/// The peers with which it is otherwise than it knows in the way of relaying.
pub(super) fn relaying(
    tenant: &Tenant,
    id: NodeId,
    known: &mut BTreeMap<NodeId, Relaying>,
    due: &Due,
) -> Vec<Relaying> {
    let mut peers: BTreeSet<NodeId> = due.peers.keys().copied().collect();
    if due.all {
        peers.extend(tenant.relay_partners(id));
        peers.extend(known.keys());
    }
    let mut news = Vec::new();
    for peer in peers {
        let now = tenant.relaying(id, peer);
        let before = match now.is_nothing() {
            true => known.remove(&peer),
            false => known.insert(peer, now),
        };
        if before.map_or(!now.is_nothing(), |before| before != now) {
            news.push(now);
        }
    }
    news
}

/// The peers of which it has to hear that other kinds of path are allowed than it knows.
pub(super) fn paths(tenant: &Tenant, id: NodeId, told: &mut Told, due: &Due) -> Vec<PeerPaths> {
    let mut peers: BTreeSet<NodeId> = due.peers.keys().copied().collect();
    if due.all {
        peers.extend(told.paths.keys());
        if tenant.policy().has_path_rules() {
            peers.extend(told.peers.iter().filter_map(|slot| tenant.owner_of(slot)));
        }
    }
    let mut news = Vec::new();
    for peer in peers {
        if !told.knows(tenant, peer) {
            told.paths.remove(&peer);
            continue;
        }
        let kinds = tenant.path_kinds(id, peer);
        let before = match kinds.is_all() {
            true => told.paths.remove(&peer),
            false => told.paths.insert(peer, kinds),
        };
        if before.unwrap_or_default() != kinds {
            news.push(PeerPaths { peer, kinds });
        }
    }
    news
}
