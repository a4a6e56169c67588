//! Lanes are opened and closed on the control channel, and bound over UDP.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use dataplane_common::{DropReason, NetworkPlace};
use proto::key::PublicKey;
use proto::lane::{Bound, LaneId, LaneMessage, LaneRefusal, Proof};
use proto::relay::{LaneOpened, LaneRefused, RelayFrame};

use super::Relay;
use crate::core::SwitchChange;
use crate::core::bucket;
use crate::core::lanes::{self, BoundTo, Side};
use crate::core::output::{Command, Made, Output};
use crate::core::slab::Index;
use crate::core::timers::Due;

/// Questions about lanes a second, from all the world: each costs a MAC or two, a few microseconds,
/// so a flood of them takes at most a tenth of a core from those who send data.
const QUESTIONS: NonZeroU64 = NonZeroU64::new(50_000).unwrap();
/// How many at once: every client of a relay may come back in one moment.
const QUESTIONS_AHEAD: Duration = Duration::from_millis(500);

impl Relay {
    /// Opens a lane between a client and a peer of its network, or tells of the one there is.
    pub(super) fn open_lane(
        &mut self,
        asker: Index,
        peer: &PublicKey,
        now: Instant,
        out: &mut Output,
    ) {
        if let Err(why) = self.try_open(asker, peer, now, out) {
            self.counters.refuse_lane(why);
            self.tell(asker, RelayFrame::LaneRefused(*peer, why), now, out);
        }
    }

    fn try_open(
        &mut self,
        asker: Index,
        peer: &PublicKey,
        now: Instant,
        out: &mut Output,
    ) -> Result<(), LaneRefused> {
        if self.settings.lane_addresses.is_empty() {
            return Err(LaneRefused::NoLanes);
        }
        let node = self.nodes.get(asker).ok_or(LaneRefused::PeerAbsent)?;
        if node.key == *peer {
            return Err(LaneRefused::Oneself);
        }
        let key = node.key;
        if let Some(&lane) = node.lanes.get(peer) {
            self.tell_lane(lane, asker, now, out);
            return Ok(());
        }
        let full = node.lanes.len() >= node.lanes_allowed as usize;
        let found = self.networks.get(node.network).and_then(|n| n.members.get(peer).copied());
        let far = found.and_then(|index| Some((index, self.nodes.get(index)?)));
        let elsewhere =
            self.networks.get(node.network).is_some_and(|n| self.mesh.find(n.id, peer).is_some());
        let absent = if elsewhere { LaneRefused::PeerElsewhere } else { LaneRefused::PeerAbsent };
        let (other, far) = far.filter(|(_, far)| far.connection.is_some()).ok_or(absent)?;
        let far_full = far.lanes.len() >= far.lanes_allowed as usize;
        if full || far_full || !self.may_ask(asker, now) {
            return Err(LaneRefused::TooMany);
        }
        if self.lanes.len() >= self.settings.lanes {
            return Err(LaneRefused::Full);
        }
        let lane = self.lanes.open([asker, other], now).ok_or(LaneRefused::Full)?;
        for (index, peer) in [(asker, *peer), (other, key)] {
            let Some(node) = self.nodes.get_mut(index) else { continue };
            node.lanes.insert(peer, lane);
            // Who has others is in the tables, and kept right there by its tickets.
            if node.lanes.len() == 1 {
                self.allow_lanes(index, out);
            }
        }
        self.arm_lane(lane, now);
        self.tell_lane(lane, asker, now, out);
        self.tell_lane(lane, other, now, out);
        Ok(())
    }

    /// Says how fast a node may send by lanes.
    pub(super) fn allow_lanes(&self, node: Index, out: &mut Output) {
        out.commands.extend(self.lane_rates(node).map(Command::Switch));
    }

    /// How fast a node may send by its lanes, if it has any, and before it its network by those of all.
    pub(super) fn lane_rates(&self, index: Index) -> impl Iterator<Item = SwitchChange> {
        let node = self.nodes.get(index).filter(|node| !node.lanes.is_empty());
        let network = node.and_then(|node| {
            let rate = self.networks.get(node.network)?.share.rate()?;
            Some((lanes::network_place(node.network), bucket::rate(rate)))
        });
        let place = network.map_or(NetworkPlace::default(), |(place, _)| place);
        let node = node.map(|node| {
            SwitchChange::Client(lanes::client_place(index), bucket::rate(node.rate), place)
        });
        network.map(|(place, rate)| SwitchChange::Network(place, rate)).into_iter().chain(node)
    }

    /// Tells a node what it needs of its end.
    fn tell_lane(&mut self, lane: Index, node: Index, now: Instant, out: &mut Output) {
        let Some(lane) = self.lanes.get(lane) else { return };
        let side = lane.side_of(node);
        let (end, other) = (lane.end(side), lane.end(side.other()));
        let Some(peer) = self.nodes.get(other.node).map(|node| node.key) else { return };
        let opened = LaneOpened {
            peer,
            lane: end.id,
            secret: end.secret.clone(),
            lifetime: self.lifetime(),
            addresses: self.settings.lane_addresses.clone(),
        };
        self.tell(node, RelayFrame::LaneOpened(opened), now, out);
    }

    pub(super) fn close_own_lane(
        &mut self,
        node: Index,
        id: LaneId,
        now: Instant,
        out: &mut Output,
    ) {
        // An id of somebody else is not known to this client.
        let own = self.lanes.find(id).filter(|&(index, side)| {
            self.lanes.get(index).is_some_and(|lane| lane.end(side).node == node)
        });
        if let Some((index, _)) = own {
            self.close_lane(index, now, out);
        }
    }

    /// Ends a lane and tells both nodes.
    pub(super) fn close_lane(&mut self, index: Index, now: Instant, out: &mut Output) {
        let Some(lane) = self.lanes.close(index) else { return };
        for side in [Side::A, Side::B] {
            let (end, other) = (lane.end(side), lane.end(side.other()));
            out.commands.push(Command::Switch(SwitchChange::Remove(end.id)));
            let peer = self.nodes.get(other.node).map(|node| node.key);
            if let (Some(node), Some(peer)) = (self.nodes.get_mut(end.node), peer) {
                node.lanes.remove(&peer);
            }
            self.tell(end.node, RelayFrame::LaneClosed(end.id), now, out);
        }
        for side in [Side::A, Side::B] {
            self.forget_if_unused(lane.end(side).node);
        }
    }

    /// Takes a datagram of a lane that is no data, and answers it with no more bytes than it has.
    pub fn lane_message(
        &mut self,
        message: &LaneMessage<'_>,
        from: SocketAddr,
        local: Option<IpAddr>,
        now: Instant,
        out: &mut Output,
    ) {
        if !self.questions.take_within(1, QUESTIONS, QUESTIONS_AHEAD, now) {
            return self.counters.drop(DropReason::LaneBusy, 1);
        }
        let answer = match *message {
            LaneMessage::Bind(lane) => match self.lanes.find(lane) {
                Some(_) => LaneMessage::Challenge(lane, self.cookies.make(lane, from, now)),
                None => LaneMessage::Refused(lane, LaneRefusal::Unknown),
            },
            LaneMessage::Prove(proof) => match self.bind(&proof, from, local, now, out) {
                Ok(bound) => LaneMessage::Bound(bound),
                Err(why) => LaneMessage::Refused(proof.lane, why),
            },
            LaneMessage::Keepalive(lane, number) => match self.keep(lane, from, now) {
                Ok(()) => LaneMessage::Kept(lane, number),
                Err(why) => LaneMessage::Refused(lane, why),
            },
            LaneMessage::Data(..)
            | LaneMessage::Challenge(..)
            | LaneMessage::Bound(_)
            | LaneMessage::Kept(..)
            | LaneMessage::Refused(..) => return self.counters.drop(DropReason::LaneMalformed, 1),
        };
        let mut bytes = Vec::new();
        answer.write(&mut bytes);
        out.datagrams.push(Made { to: from, via: local, segment: bytes.len(), bytes });
    }

    fn bind(
        &mut self,
        proof: &Proof,
        from: SocketAddr,
        local: Option<IpAddr>,
        now: Instant,
        out: &mut Output,
    ) -> Result<Bound, LaneRefusal> {
        let lifetime = self.lifetime();
        let (index, side) = self.lanes.find(proof.lane).ok_or(LaneRefusal::Unknown)?;
        if !self.cookies.knows(proof.cookie, proof.lane, from, now) {
            return Err(LaneRefusal::BadCookie);
        }
        let lane = self.lanes.get_mut(index).ok_or(LaneRefusal::Unknown)?;
        let end = lane.end_mut(side);
        if !proof.is_by(&end.secret) || proof.nonce <= end.nonce {
            return Err(LaneRefusal::BadProof);
        }
        end.nonce = proof.nonce;
        end.bound = Some(BoundTo { from, local, heard: now });
        let bound = Bound::new(&end.secret, end.id, proof.nonce, from, lifetime);
        lane.used = now;
        for side in [side, side.other()] {
            out.commands.push(Command::Switch(lane.switch(side)));
        }
        Ok(bound)
    }

    fn keep(&mut self, id: LaneId, from: SocketAddr, now: Instant) -> Result<(), LaneRefusal> {
        let (index, side) = self.lanes.find(id).ok_or(LaneRefusal::Unknown)?;
        let lane = self.lanes.get_mut(index).ok_or(LaneRefusal::Unknown)?;
        let bound = lane.end_mut(side).bound.as_mut();
        let bound = bound.filter(|bound| bound.from == from).ok_or(LaneRefusal::NotBound)?;
        bound.heard = now;
        lane.used = now;
        Ok(())
    }

    /// Unbinds ends that were silent, and closes a lane that nobody uses.
    pub(super) fn look_at_lane(&mut self, index: Index, now: Instant, out: &mut Output) {
        let lifetime = self.settings.lane_lifetime;
        let Some(lane) = self.lanes.get_mut(index) else { return };
        if lane.armed > now {
            return;
        }
        for side in [Side::A, Side::B] {
            let silent = |bound: &BoundTo| bound.heard + lifetime <= now;
            if lane.end(side).bound.as_ref().is_some_and(silent) {
                lane.end_mut(side).bound = None;
                for side in [side, side.other()] {
                    out.commands.push(Command::Switch(lane.switch(side)));
                }
            }
        }
        if lane.used + lifetime <= now {
            self.close_lane(index, now, out);
        } else {
            self.arm_lane(index, now);
        }
    }

    fn arm_lane(&mut self, index: Index, now: Instant) {
        let lifetime = self.settings.lane_lifetime;
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let heard = [Side::A, Side::B].map(|side| lane.end(side).bound.map(|bound| bound.heard));
        let first = heard.into_iter().flatten().chain([lane.used]).min().unwrap_or(now);
        lane.armed = (first + lifetime).max(now + Duration::from_millis(1));
        self.timers.set(lane.armed, Due::Lane(index));
    }

    fn lifetime(&self) -> u16 {
        u16::try_from(self.settings.lane_lifetime.as_secs()).unwrap_or(u16::MAX)
    }
}
