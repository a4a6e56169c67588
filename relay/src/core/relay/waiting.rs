//! Packets that wait for their receivers: how many may, for how long, and what makes room.

use std::time::{Duration, Instant};

use dataplane_common::DropReason;
use proto::mesh::RelayId;

use super::Relay;
use super::mesh::Receiver;
use crate::core::mesh::{LinkId, QUEUE_BYTES, ToLink, Transit};
use crate::core::node::ClientId;
use crate::core::output::{Command, Delivery, Output, Packet};
use crate::core::slab::Index;
use crate::core::timers::Due;

/// Old packets are looked for so often at most.
const SWEEP: Duration = Duration::from_millis(1);

impl Relay {
    /// Hands packets to a node's connection, or keeps them until it has room; false if there is none.
    pub(super) fn queue(
        &mut self,
        to: Index,
        packet: Packet,
        now: Instant,
        out: &mut Output,
    ) -> bool {
        let Some(node) = self.nodes.get_mut(to) else { return false };
        let Some(connection) = &mut node.connection else { return false };
        let id = ClientId { node: to, connection: connection.number };
        match connection.queue.pass(packet) {
            Ok(delivery) => self.hand_over(id, delivery, out),
            Err(packet) => {
                let dropped = connection.queue.push(packet, self.settings.queue_bytes);
                self.counters.drop(DropReason::ReceiverFull, dropped);
                self.weigh(to);
                self.make_room();
                self.watch(to, now);
            }
        }
        true
    }

    /// Hands packets to a link, or keeps them until it has room; false if there is none.
    pub(super) fn pass_on(
        &mut self,
        relay: RelayId,
        receiver: &Receiver,
        packet: Packet,
        out: &mut Output,
    ) -> bool {
        let Some(link) = self.mesh.links.get_mut(&relay) else { return false };
        let id = LinkId { relay, number: link.number };
        let transit = Transit { network: receiver.network, to: receiver.key, packet };
        match link.queue.pass(transit) {
            Ok(delivery) => self.hand_to_link(id, delivery, out),
            Err(transit) => {
                let dropped = link.queue.push(transit, QUEUE_BYTES);
                self.counters.drop(DropReason::ReceiverFull, dropped);
                self.weigh_link(relay);
                self.make_room();
            }
        }
        true
    }

    /// Hands over what a connection has room for.
    pub(super) fn pump(&mut self, index: Index, now: Instant, out: &mut Output) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(connection) = &mut node.connection else { return };
        let id = ClientId { node: index, connection: connection.number };
        let aged = connection.queue.drop_old(self.settings.queue_age, now);
        self.counters.drop(DropReason::QueueAge, aged);
        while let Some(connection) = self.nodes.get_mut(index).and_then(|n| n.connection.as_mut())
            && let Some(delivery) = connection.queue.pop()
        {
            self.hand_over(id, delivery, out);
        }
        self.weigh(index);
    }

    /// Drops what has waited too long for a node, whether its connection takes anything or not.
    pub(super) fn look_at_queue(&mut self, index: Index, now: Instant) {
        let node = self.nodes.get_mut(index);
        let Some(connection) = node.and_then(|node| node.connection.as_mut()) else { return };
        if connection.sweep.is_none_or(|at| at > now) {
            // Of a connection before this one.
            return;
        }
        connection.sweep = None;
        let aged = connection.queue.drop_old(self.settings.queue_age, now);
        self.counters.drop(DropReason::QueueAge, aged);
        self.weigh(index);
        self.watch(index, now);
    }

    /// The same for all links.
    pub(super) fn look_at_links(&mut self, now: Instant) {
        let relays: Vec<RelayId> = self.mesh.links.keys().copied().collect();
        for relay in relays {
            let Some(link) = self.mesh.links.get_mut(&relay) else { continue };
            let aged = link.queue.drop_old(self.settings.queue_age, now);
            self.counters.drop(DropReason::QueueAge, aged);
            self.weigh_link(relay);
        }
    }

    fn hand_over(&mut self, id: ClientId, delivery: Delivery, out: &mut Output) {
        if let Delivery::Packet(packet) = &delivery {
            self.counters.packets_out += packet.count() as u64;
            self.counters.bytes_out += packet.payload.len() as u64;
        }
        out.commands.push(Command::Deliver(id, delivery));
    }

    pub(super) fn hand_to_link(&mut self, id: LinkId, delivery: ToLink, out: &mut Output) {
        if let Delivery::Packet(transit) = &delivery {
            self.counters.link_packets_out += transit.packet.count() as u64;
            self.counters.link_bytes_out += transit.packet.payload.len() as u64;
        }
        out.commands.push(Command::Link(id, delivery));
    }

    /// Looks for old packets when the oldest that waits will be one.
    fn watch(&mut self, index: Index, now: Instant) {
        let node = self.nodes.get_mut(index);
        let Some(connection) = node.and_then(|node| node.connection.as_mut()) else { return };
        if connection.sweep.is_none()
            && let Some(oldest) = connection.queue.oldest()
        {
            let age = self.settings.queue_age;
            let at = (oldest + age).max(now + SWEEP.max(age / 8));
            connection.sweep = Some(at);
            self.timers.set(at, Due::Queue(index));
        }
    }

    /// Notes what waits for a node.
    pub(super) fn weigh(&mut self, index: Index) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(connection) = &mut node.connection else { return };
        let Some(network) = self.networks.get_mut(node.network) else { return };
        let cost = connection.queue.cost();
        let (all, queue) = (&mut network.backlog, &mut connection.backlog);
        self.backlog.note((node.network, all), (index, queue), cost);
    }

    /// Notes what waits for a link.
    pub(super) fn weigh_link(&mut self, relay: RelayId) {
        let Some(link) = self.mesh.links.get_mut(&relay) else { return };
        self.backlog.note_link(&mut link.backlog, link.queue.cost());
    }

    /// Drops until what waits is no more than may: of whichever network or link has most.
    fn make_room(&mut self) {
        while self.backlog.cost() > self.settings.queue_total {
            let dropped = self.drop_of_most();
            if dropped == 0 {
                return;
            }
            self.counters.drop(DropReason::QueueTotal, dropped);
        }
    }

    fn drop_of_most(&mut self) -> usize {
        let (network, most) = self.backlog.most().unzip();
        let links = self.mesh.links.iter_mut().max_by_key(|(_, link)| link.queue.cost());
        if let Some((&relay, link)) = links
            && link.queue.cost() > most.unwrap_or(0)
        {
            let dropped = link.queue.drop_of_most();
            self.weigh_link(relay);
            return dropped;
        }
        let network = network.and_then(|network| self.networks.get(network));
        let Some(index) = network.and_then(|network| network.backlog.most()) else { return 0 };
        let node = self.nodes.get_mut(index);
        let Some(connection) = node.and_then(|node| node.connection.as_mut()) else { return 0 };
        let dropped = connection.queue.drop_of_most();
        self.weigh(index);
        dropped
    }
}
