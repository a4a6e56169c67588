//! What other relays are told: who is here, signs of life, packets.

use std::time::Instant;

use dataplane_common::DropReason;
use proto::key::PublicKey;
use proto::mesh::{MeshFrame, Notice, Presence, RelayId};
use proto::ticket::NetworkId;

use super::Relay;
use crate::core::mesh::{BEAT, LinkId, age};
use crate::core::output::{Command, Output};
use crate::core::slab::Index;
use crate::core::timers::Due;

impl Relay {
    /// Tells the region that a node has come, moved or left.
    pub(super) fn announce(&mut self, node: Index, now: Instant, out: &mut Output) {
        if self.mesh.links.is_empty() {
            return;
        }
        let Some(node) = self.nodes.get(node) else { return };
        let Some(network) = self.networks.get(node.network) else { return };
        let (network, key) = (network.id, node.key);
        self.mesh.links.values_mut().for_each(|link| link.note(network, key));
        let links: Vec<RelayId> = self.mesh.links.keys().copied().collect();
        links.into_iter().for_each(|relay| self.pump_link(relay, now, out));
    }

    /// Sends a sign of life on every link, and ends those that have shown none.
    pub(super) fn beat(&mut self, now: Instant, out: &mut Output) {
        let beats: Vec<_> = self
            .mesh
            .links
            .iter_mut()
            .map(|(&relay, link)| (relay, link.pulse.next(now)))
            .collect();
        let unknown = self.mesh.links.values_mut().map(|link| link.early.drop_old(now)).sum();
        self.counters.drop(DropReason::LinkStranger, unknown);
        for (relay, beat) in beats {
            match beat {
                Some(number) => self.tell_link(relay, MeshFrame::Beat(number), now, out),
                None => self.end_link(relay, out),
            }
        }
        self.look_at_links(now);
        self.mesh.beating = !self.mesh.links.is_empty();
        if self.mesh.beating {
            self.timers.set(now + BEAT, Due::Beat);
        }
    }

    pub(super) fn end_link(&mut self, relay: RelayId, out: &mut Output) {
        if let Some(mut link) = self.mesh.remove(relay) {
            self.counters.drop(DropReason::LinkStranger, link.early.count());
            self.backlog.note_link(&mut link.backlog, 0);
            out.commands.push(Command::CloseLink(LinkId { relay, number: link.number }));
        }
    }

    pub(super) fn tell_link(
        &mut self,
        relay: RelayId,
        frame: MeshFrame<'static>,
        now: Instant,
        out: &mut Output,
    ) {
        let Some(link) = self.mesh.links.get_mut(&relay) else { return };
        if link.queue.push_control(frame) {
            self.pump_link(relay, now, out);
        } else {
            self.end_link(relay, out);
        }
    }

    /// Hands over what a link has room for: frames, news, packets.
    pub(super) fn pump_link(&mut self, relay: RelayId, now: Instant, out: &mut Output) {
        let Some(link) = self.mesh.links.get_mut(&relay) else { return };
        let aged = link.queue.drop_old(self.settings.queue_age, now);
        self.counters.drop(DropReason::QueueAge, aged);
        while let Some(link) = self.mesh.links.get_mut(&relay) {
            if link.queue.is_open() {
                let changes = link.changes();
                if !changes.is_empty() {
                    let notices = changes.into_iter().map(|node| self.notice(node, now)).collect();
                    let Some(link) = self.mesh.links.get_mut(&relay) else { return };
                    // There is room: none waits.
                    link.queue.push_control(MeshFrame::Nodes(notices));
                }
            }
            let Some(link) = self.mesh.links.get_mut(&relay) else { return };
            let id = LinkId { relay, number: link.number };
            let Some(next) = link.queue.pop() else { break };
            self.hand_to_link(id, next, out);
        }
        self.weigh_link(relay);
    }

    /// Where a node is, now.
    fn notice(&self, (network, node): (NetworkId, PublicKey), now: Instant) -> Notice {
        let index = self.member(network, &node);
        let connection = index.and_then(|index| self.nodes.get(index)?.connection.as_ref());
        let presence = match connection {
            None => Presence::Gone,
            Some(connection) if connection.home => Presence::Home(age(connection.since, now)),
            Some(connection) => Presence::Connected(age(connection.since, now)),
        };
        Notice { network, node, presence }
    }
}
