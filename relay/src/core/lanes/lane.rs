//! Lanes and their ends.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use dataplane_common::{ClientPlace, MAX_LANE_ENDS, NetworkPlace};
use proto::lane::{LaneId, LaneSecret};
use ring::hmac;

use super::switch::{Forward, LaneEntry, SwitchChange};
use crate::core::slab::{Index, Slab};

/// One of the two ends of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Side {
    A,
    B,
}

/// A lane.
pub(in crate::core) struct Lane {
    ends: [End; 2],
    /// When it was opened, or an end was last bound.
    pub(in crate::core) used: Instant,
    /// When it is looked at next.
    pub(in crate::core) armed: Instant,
}

/// One end.
pub(in crate::core) struct End {
    pub(in crate::core) id: LaneId,
    pub(in crate::core) node: Index,
    pub(in crate::core) secret: LaneSecret,
    /// The greatest nonce that a proof has used.
    pub(in crate::core) nonce: u64,
    pub(in crate::core) bound: Option<BoundTo>,
}

/// The address that an end has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct BoundTo {
    pub(in crate::core) from: SocketAddr,
    /// The relay's address that the end talks to.
    pub(in crate::core) local: Option<IpAddr>,
    /// When the end last proved itself or said that it is there.
    pub(in crate::core) heard: Instant,
}

/// All lanes.
pub(in crate::core) struct Lanes {
    lanes: Slab<Lane>,
    seed: hmac::Key,
    made: u64,
}

impl Side {
    pub(in crate::core) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Lane {
    pub(in crate::core) const fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(in crate::core) const fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Which end is this node's.
    pub(in crate::core) fn side_of(&self, node: Index) -> Side {
        if self.ends[0].node == node { Side::A } else { Side::B }
    }

    /// What the table is to hold for this end.
    pub(in crate::core) fn switch(&self, side: Side) -> SwitchChange {
        let (end, other) = (self.end(side), self.end(side.other()));
        let Some(bound) = end.bound else { return SwitchChange::Remove(end.id) };
        let to = other.bound.map(|to| Forward { to: to.from, via: to.local, lane: other.id });
        let (from, local, client) = (bound.from, bound.local, client_place(end.node));
        SwitchChange::Insert(end.id, LaneEntry { from, local, to, client })
    }
}

/// Where a node's bucket is in the tables by which lanes are switched; the first place is nobody's.
pub(in crate::core) const fn client_place(node: Index) -> ClientPlace {
    ClientPlace(node.slot() + 1)
}

/// Where a network's is.
pub(in crate::core) const fn network_place(network: Index) -> NetworkPlace {
    NetworkPlace(network.slot() + 1)
}

impl Lanes {
    pub(in crate::core) fn new(seed: &[u8; 32]) -> Self {
        let seed = hmac::Key::new(hmac::HMAC_SHA256, seed);
        Self { lanes: Slab::new(), seed, made: 0 }
    }

    /// Joins two nodes.
    pub(in crate::core) fn open(&mut self, [a, b]: [Index; 2], now: Instant) -> Option<Index> {
        // The two ends have neighbouring places.
        let place = self.lanes.next()?.checked_mul(2).filter(|place| *place < MAX_LANE_ENDS)?;
        let ends = [self.end(place, a), self.end(place + 1, b)];
        self.lanes.insert(Lane { ends, used: now, armed: now })
    }

    pub(in crate::core) fn close(&mut self, index: Index) -> Option<Lane> {
        self.lanes.remove(index)
    }

    pub(in crate::core) fn find(&self, id: LaneId) -> Option<(Index, Side)> {
        let side = if id.place().is_multiple_of(2) { Side::A } else { Side::B };
        let (index, lane) = self.lanes.at(id.place() / 2)?;
        (lane.end(side).id == id).then_some((index, side))
    }

    pub(in crate::core) fn get(&self, index: Index) -> Option<&Lane> {
        self.lanes.get(index)
    }

    pub(in crate::core) fn get_mut(&mut self, index: Index) -> Option<&mut Lane> {
        self.lanes.get_mut(index)
    }

    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|(_, lane)| lane)
    }

    pub(in crate::core) const fn len(&self) -> usize {
        self.lanes.len()
    }

    fn end(&mut self, place: u32, node: Index) -> End {
        // Unforeseeable, and no secret twice.
        let tag = hmac::sign(&self.seed, &self.made.to_be_bytes());
        self.made += 1;
        let (mut random, mut secret) = ([0; 4], [0; 16]);
        random.copy_from_slice(&tag.as_ref()[..4]);
        secret.copy_from_slice(&tag.as_ref()[16..]);
        let id = LaneId::new(place, u32::from_be_bytes(random));
        End { id, node, secret: LaneSecret::from(secret), nonce: 0, bound: None }
    }
}
