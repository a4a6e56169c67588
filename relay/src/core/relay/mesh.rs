//! What comes by links to other relays, and which packets leave by them.

use std::time::Instant;

use bytes::Bytes;
use dataplane_common::DropReason;
use proto::key::PublicKey;
use proto::mesh::{MeshFrame, RelayId};
use proto::relay::RelayFrame;
use proto::ticket::NetworkId;

use super::Relay;
use crate::core::mesh::{Link, LinkId, MeshStatus, NODES_OF_A_RELAY, Region, Transit};
use crate::core::output::{Output, Packet, payload};
use crate::core::slab::Index;
use crate::core::timers::Due;

/// A node that packets are for.
pub(super) struct Receiver {
    pub(super) network: NetworkId,
    pub(super) key: PublicKey,
    /// Its place, if it is known here.
    pub(super) here: Option<Index>,
}

/// How a node is reached.
#[derive(Clone, Copy)]
pub(super) enum Road {
    /// By its connection here.
    Here(Index),
    /// At another relay.
    Link(RelayId),
}

impl Relay {
    /// Says which relays are of the region. Links to others end.
    pub fn set_region(&mut self, region: Region, out: &mut Output) {
        self.mesh.region = region;
        let others = &self.mesh.region.others;
        let gone: Vec<RelayId> =
            self.mesh.links.keys().filter(|relay| !others.contains_key(relay)).copied().collect();
        for relay in gone {
            self.end_link(relay, out);
        }
    }

    /// A relay has proven itself on a link; `None` if it is not of the region. An older link to it ends.
    pub fn link_up(&mut self, relay: RelayId, now: Instant, out: &mut Output) -> Option<LinkId> {
        if !self.mesh.region.others.contains_key(&relay) {
            return None;
        }
        self.end_link(relay, out);
        self.mesh.numbers = self.mesh.numbers.wrapping_add(1);
        let mut link = Link::new(self.mesh.numbers, now);
        for (_, node) in self.nodes.iter().filter(|(_, node)| node.connection.is_some()) {
            if let Some(network) = self.networks.get(node.network) {
                link.note(network.id, node.key);
            }
        }
        let id = LinkId { relay, number: link.number };
        self.mesh.links.insert(relay, link);
        if !self.mesh.beating {
            self.mesh.beating = true;
            self.timers.set(now, Due::Beat);
        }
        self.pump_link(relay, now, out);
        Some(id)
    }

    /// A link has ended by itself.
    pub fn link_down(&mut self, id: LinkId, out: &mut Output) {
        if self.mesh.link_mut(id).is_some() {
            self.end_link(id.relay, out);
        }
    }

    /// A link has written so much of what it was given.
    pub fn link_written(&mut self, id: LinkId, bytes: usize, now: Instant, out: &mut Output) {
        if let Some(link) = self.mesh.link_mut(id) {
            link.queue.written(bytes);
            self.pump_link(id.relay, now, out);
        }
    }

    /// Takes a frame of another relay; `chunk` holds its bytes, in memory that is not much larger.
    pub fn link_frame(
        &mut self,
        id: LinkId,
        frame: &MeshFrame<'_>,
        chunk: &Bytes,
        now: Instant,
        out: &mut Output,
    ) {
        let Some(link) = self.mesh.link_mut(id) else { return };
        link.pulse.heard();
        match frame {
            MeshFrame::Packets { network, from, to, batch } => {
                self.counters.link_packets_in += batch.datagrams().len() as u64;
                self.counters.link_bytes_in += batch.bytes().len() as u64;
                let segment = u16::try_from(batch.segment()).unwrap_or(u16::MAX);
                let payload = payload(chunk, batch);
                let packet = Packet { from: *from, segment, payload, at: now };
                self.arrived(id, Transit { network: *network, to: *to, packet }, now, out);
            }
            MeshFrame::Nodes(notices) => {
                for notice in notices {
                    self.mesh.directory.take(id.relay, notice, NODES_OF_A_RELAY, now);
                }
                for transit in self.mesh.early_no_longer(id) {
                    self.arrived(id, transit, now, out);
                }
            }
            MeshFrame::Absent { network, from, to } => {
                self.mesh.directory.remove(id.relay, *network, to);
                if self.mesh.find(*network, to).is_none()
                    && let Some(sender) = self.member(*network, from)
                    && self.may_ask(sender, now)
                {
                    self.tell(sender, RelayFrame::PeerGone(*to), now, out);
                }
            }
            MeshFrame::Beat(number) => {
                self.tell_link(id.relay, MeshFrame::BeatBack(*number), now, out);
            }
            MeshFrame::BeatBack(number) => link.pulse.back(*number, now),
            // It has its place before a link is up.
            MeshFrame::Hello(_) => self.end_link(id.relay, out),
        }
    }

    /// How the region looks, if there is one.
    #[must_use]
    pub fn mesh_status(&self) -> Option<MeshStatus> {
        self.mesh.status()
    }

    /// Packets from another relay: for a node here, or for nobody. They are never passed on.
    fn arrived(&mut self, id: LinkId, transit: Transit, now: Instant, out: &mut Output) {
        let Transit { network, to, ref packet } = transit;
        let (from, count) = (packet.from, packet.count());
        if !self.mesh.directory.has(id.relay, network, &from) {
            let kept = self.mesh.link_mut(id).is_some_and(|link| link.early.keep(transit));
            if !kept {
                self.counters.drop(DropReason::LinkStranger, count);
            }
            return;
        }
        let receiver = self.member(network, &to);
        if receiver.is_some_and(|receiver| self.queue(receiver, transit.packet, now, out)) {
            return;
        }
        self.counters.drop(DropReason::LinkAbsent, count);
        if self.mesh.link_mut(id).is_some_and(|link| link.may_say_absent(now)) {
            self.tell_link(id.relay, MeshFrame::Absent { network, from, to }, now, out);
        }
    }

    /// How to reach a node: where it is at home, and if it is at home at two relays, which is so while
    /// it moves, at the later.
    pub(super) fn road(&self, receiver: &Receiver) -> Option<Road> {
        let node = receiver.here.and_then(|index| Some((index, self.nodes.get(index)?)));
        let here = node.and_then(|(index, node)| Some((index, node.connection.as_ref()?)));
        let there = self.mesh.find(receiver.network, &receiver.key);
        match (here, there) {
            (Some((_, here)), Some(there))
                if here.since < there.since && (there.home || !here.home) =>
            {
                Some(Road::Link(there.relay))
            }
            (Some((index, _)), _) => Some(Road::Here(index)),
            (None, Some(there)) => Some(Road::Link(there.relay)),
            (None, None) => None,
        }
    }

    pub(super) fn member(&self, network: NetworkId, node: &PublicKey) -> Option<Index> {
        let network = self.networks.get(*self.network_ids.get(&network)?)?;
        network.members.get(node).copied()
    }
}
