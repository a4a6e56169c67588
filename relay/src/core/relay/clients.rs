//! Clients come, go on by a new ticket, and leave.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Instant;

use proto::control::RevocationFrame;
use proto::key::PublicKey;
use proto::relay::{Refusal, RelayFrame, Welcome};
use proto::ticket::{NetworkId, Ticket, UnixSeconds};

use super::{Network, Relay};
use crate::core::Now;
use crate::core::admission::Admitted;
use crate::core::backlog::{NetworkBacklog, QueueBacklog};
use crate::core::bucket::Bucket;
use crate::core::members::Members;
use crate::core::node::{ClientId, Connection, Node, Way};
use crate::core::output::{Command, Delivery, Output};
use crate::core::queue::Queue;
use crate::core::share::{Part, Share};
use crate::core::slab::Index;
use crate::core::timers::Due;

impl Relay {
    /// Serves a node that has proven itself. An older connection of the same node ends.
    pub fn join(
        &mut self,
        admitted: &Admitted,
        way: Way,
        now: Now,
        out: &mut Output,
    ) -> Result<ClientId, Refusal> {
        let ticket = admitted.ticket();
        if self.revocations.hold(ticket.network, ticket.identity) {
            return Err(Refusal::Revoked);
        }
        if !self.is_member(ticket.network, &ticket.node) {
            return Err(Refusal::NotGranted);
        }
        let network = self.room_for(ticket.network, &ticket.node, now)?;
        let index = self.node(network, ticket, now.at).ok_or(Refusal::Full)?;
        self.end_connection(index, Some(Refusal::Replaced), now.at, out);
        let node = self.nodes.get_mut(index).ok_or(Refusal::Full)?;
        node.connections = node.connections.wrapping_add(1);
        let id = ClientId { node: index, connection: node.connections };
        node.connection = Some(Connection {
            number: id.connection,
            way,
            queue: Queue::new(),
            backlog: QueueBacklog::default(),
            sweep: None,
            home: false,
            heard: now.at,
            since: now.at,
        });
        self.connected += 1;
        if let Some(network) = self.networks.get_mut(network) {
            network.connected += 1;
        }
        self.allow(id, admitted, now, out);
        self.announce(id.node, now.at, out);
        Ok(id)
    }

    /// Goes on serving a client by a new ticket, which must be of the same node.
    pub fn renew(&mut self, id: ClientId, admitted: &Admitted, now: Now, out: &mut Output) {
        let ticket = admitted.ticket();
        let same = self.nodes.get(id.node).is_some_and(|node| {
            let network = self.networks.get(node.network).map(|network| network.id);
            node.key == ticket.node && network == Some(ticket.network)
        });
        if self.revocations.hold(ticket.network, ticket.identity) {
            self.refuse(id, Refusal::Revoked, now.at, out);
        } else if same {
            self.allow(id, admitted, now, out);
        } else {
            self.refuse(id, Refusal::BadProof, now.at, out);
        }
    }

    /// Takes the control plane's word of who is not to be served, and ends what they have here.
    pub fn revoke(&mut self, frame: &RevocationFrame, now: Instant, out: &mut Output) {
        if !self.revocations.take(frame) {
            return;
        }
        let revoked =
            |relay: &Self, network, node: &Node| relay.revocations.hold(network, node.identity);
        self.put_out(revoked, Refusal::Revoked, now, out);
    }

    /// Serves these from now on, and ends what others have here.
    pub fn serve_only(&mut self, members: Members, now: Instant, out: &mut Output) {
        self.settings.members = Some(members);
        let stranger = |relay: &Self, network, node: &Node| !relay.is_member(network, &node.key);
        self.put_out(stranger, Refusal::NotGranted, now, out);
    }

    fn is_member(&self, network: NetworkId, node: &PublicKey) -> bool {
        self.settings.members.as_ref().is_none_or(|members| members.have(network, node))
    }

    /// Ends connections and lanes of those of whom this is so.
    fn put_out(
        &mut self,
        is_out: impl Fn(&Self, NetworkId, &Node) -> bool,
        why: Refusal,
        now: Instant,
        out: &mut Output,
    ) {
        let is_out = |node: &Node| {
            let network = self.networks.get(node.network);
            network.is_some_and(|network| is_out(self, network.id, node))
        };
        let nodes = self.nodes.iter().filter(|(_, node)| is_out(node));
        let nodes: Vec<Index> = nodes.map(|(index, _)| index).collect();
        for index in nodes {
            self.end_connection(index, Some(why), now, out);
            self.close_lanes_of(index, now, out);
            self.forget_if_unused(index);
        }
    }

    /// A connection has ended by itself.
    pub fn leave(&mut self, id: ClientId, now: Instant, out: &mut Output) {
        if self.nodes.get_mut(id.node).and_then(|node| node.connection_mut(id)).is_some() {
            self.end_connection(id.node, None, now, out);
            self.forget_if_unused(id.node);
        }
    }

    /// Ends a client's service, saying why.
    pub fn refuse(&mut self, id: ClientId, why: Refusal, now: Instant, out: &mut Output) {
        if self.nodes.get_mut(id.node).and_then(|node| node.connection_mut(id)).is_some() {
            self.end_connection(id.node, Some(why), now, out);
            self.forget_if_unused(id.node);
        }
    }

    /// The network, if it and the relay have room for one more client, or for this one again.
    fn room_for(&mut self, id: NetworkId, node: &PublicKey, now: Now) -> Result<Index, Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let found = self.network_ids.get(&id).copied();
        let network = found.and_then(|index| self.networks.get(index));
        let again = network
            .and_then(|network| network.members.get(node))
            .and_then(|&index| self.nodes.get(index))
            .is_some_and(|node| node.connection.is_some());
        if !again && self.connected >= self.settings.clients {
            return Err(Refusal::Full);
        }
        let there = network.map_or(0, |network| network.connected);
        if !again && there >= self.settings.network_clients {
            return Err(Refusal::NetworkFull);
        }
        if let Some(index) = found {
            return Ok(index);
        }
        let share = Share::new(self.settings.network_rate, now.at);
        let network = Network {
            id,
            members: HashMap::new(),
            connected: 0,
            share,
            backlog: NetworkBacklog::default(),
        };
        let index = self.networks.insert(network).ok_or(Refusal::Full)?;
        self.network_ids.insert(id, index);
        Ok(index)
    }

    /// The node of this key, known or new.
    fn node(&mut self, network: Index, ticket: &Ticket, now: Instant) -> Option<Index> {
        let key = ticket.node;
        let members = &mut self.networks.get_mut(network)?.members;
        if let Some(&index) = members.get(&key) {
            return Some(index);
        }
        let index = self.nodes.insert(Node {
            network,
            key,
            identity: ticket.identity,
            connection: None,
            connections: 0,
            lanes: HashMap::new(),
            until: UnixSeconds(0),
            lanes_allowed: 0,
            rate: self.settings.client_rate,
            bucket: Bucket::full(now),
            part: Part::new(now),
            requests: Bucket::full(now),
            armed: now + self.settings.idle,
            absent_since: now,
        })?;
        members.insert(key, index);
        self.timers.set(now + self.settings.idle, Due::Node(index));
        Some(index)
    }

    /// Lets a node do what its ticket says, and tells it.
    fn allow(&mut self, id: ClientId, admitted: &Admitted, now: Now, out: &mut Output) {
        let ticket = admitted.ticket();
        let settings = &self.settings;
        let Some(node) = self.nodes.get_mut(id.node) else { return };
        (node.until, node.identity) = (ticket.not_after, ticket.identity);
        node.rate = NonZeroU64::new(ticket.node_rate)
            .map_or(settings.client_rate, |rate| rate.min(settings.client_rate));
        node.lanes_allowed = match ticket.lanes {
            0 => settings.client_lanes,
            lanes => lanes.min(settings.client_lanes),
        };
        let mut others = Vec::new();
        if let Some(network) = self.networks.get_mut(node.network) {
            let asked = NonZeroU64::new(ticket.network_rate);
            let rate = match (asked, settings.network_rate) {
                (Some(asked), Some(limit)) => Some(asked.min(limit)),
                (asked, limit) => asked.or(limit),
            };
            // Who says it may have no lanes itself; and that there is a rate stands with each client.
            if rate != network.share.rate() {
                others.extend(network.members.values().copied());
            }
            network.share.set_rate(rate);
        }
        let welcome = Welcome {
            until: node.until,
            rate: node.rate.get(),
            lanes: node.lanes_allowed,
            idle: u16::try_from(settings.idle.as_secs()).unwrap_or(u16::MAX),
        };
        others.into_iter().chain([id.node]).for_each(|node| self.allow_lanes(node, out));
        self.tell(id.node, RelayFrame::Welcome(welcome), now.at, out);
        self.arm_node(id.node, now);
    }

    pub(super) fn end_connection(
        &mut self,
        index: Index,
        why: Option<Refusal>,
        now: Instant,
        out: &mut Output,
    ) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(mut connection) = node.connection.take() else { return };
        node.absent_since = now;
        self.connected -= 1;
        if let Some(network) = self.networks.get_mut(node.network) {
            network.connected -= 1;
            let (all, queue) = (&mut network.backlog, &mut connection.backlog);
            self.backlog.note((node.network, all), (index, queue), 0);
        }
        let id = ClientId { node: index, connection: connection.number };
        if let Some(why) = why {
            self.counters.refuse(why);
            let refused = Delivery::Control(RelayFrame::Refused(why));
            out.commands.push(Command::Deliver(id, refused));
        }
        out.commands.push(Command::Close(id));
        self.announce(index, now, out);
    }

    /// Forgets a node that has neither a connection nor lanes, and its network with the last node.
    pub(super) fn forget_if_unused(&mut self, index: Index) {
        let unused = |node: &&Node| node.connection.is_none() && node.lanes.is_empty();
        if self.nodes.get(index).filter(unused).is_none() {
            return;
        }
        let Some(node) = self.nodes.remove(index) else { return };
        let Some(network) = self.networks.get_mut(node.network) else { return };
        network.members.remove(&node.key);
        if network.members.is_empty()
            && let Some(network) = self.networks.remove(node.network)
        {
            self.network_ids.remove(&network.id);
        }
    }
}
