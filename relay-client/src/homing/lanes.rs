//! Lanes, each of one connection's relay.

use std::collections::HashMap;

use proto::key::PublicKey;
use proto::lane::LaneId;

use super::ConnectionId;

#[derive(Default)]
pub(super) struct Lanes(HashMap<(ConnectionId, PublicKey), Lane>);

struct Lane {
    id: LaneId,
    bound: bool,
}

impl Lanes {
    pub(super) fn opened(&mut self, connection: ConnectionId, peer: PublicKey, id: LaneId) {
        let lane = self.0.entry((connection, peer)).or_insert(Lane { id, bound: false });
        if lane.id != id {
            *lane = Lane { id, bound: false };
        }
    }

    pub(super) fn set_bound(&mut self, connection: ConnectionId, id: LaneId, bound: bool) {
        let lane = self.0.iter_mut().find(|(key, lane)| key.0 == connection && lane.id == id);
        if let Some((_, lane)) = lane {
            lane.bound = bound;
        }
    }

    pub(super) fn closed(&mut self, connection: ConnectionId, id: LaneId) {
        self.0.retain(|key, lane| key.0 != connection || lane.id != id);
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.0.retain(|key, _| key.0 != connection);
    }

    /// The lane to a peer, if our end is bound.
    pub(super) fn bound(&self, connection: ConnectionId, peer: &PublicKey) -> Option<LaneId> {
        self.0.get(&(connection, *peer)).filter(|lane| lane.bound).map(|lane| lane.id)
    }

    /// The peers to which there is a lane.
    pub(super) fn peers(&self, connection: ConnectionId) -> Vec<PublicKey> {
        let mut peers: Vec<_> =
            self.0.keys().filter(|key| key.0 == connection).map(|key| key.1).collect();
        peers.sort_unstable();
        peers
    }
}
