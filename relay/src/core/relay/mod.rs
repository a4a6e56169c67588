//! The relay: its clients and what they ask.

mod clients;
mod forward;
mod lanes;
mod links;
mod mesh;
#[cfg(test)]
mod tests;
mod timeouts;
mod waiting;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dataplane_common::DropReason;
use proto::key::PublicKey;
use proto::relay::{ClientFrame, Refusal, RelayFrame};
use proto::ticket::NetworkId;

use super::Now;
use super::backlog::{Backlog, NetworkBacklog};
use super::bucket::Bucket;
use super::counters::Counters;
use super::lanes::{Cookies, Lanes, Side, SwitchChange};
use super::mesh::Mesh;
use super::node::{ClientId, Connection, Node, Way};
use super::output::Output;
use super::revocations::Revocations;
use super::settings::Settings;
use super::share::Share;
use super::slab::{Index, Slab};
use super::timers::{Due, Timers};

/// How many answers or openings, which cost others something, a client may ask for in a second.
const REQUESTS: NonZeroU64 = NonZeroU64::new(100).unwrap();
/// How many of them at once.
const REQUESTS_AHEAD: Duration = Duration::from_secs(5);

/// The forwarding state of a relay.
pub struct Relay {
    settings: Settings,
    networks: Slab<Network>,
    network_ids: HashMap<NetworkId, Index>,
    nodes: Slab<Node>,
    /// Nodes that have a connection.
    connected: usize,
    lanes: Lanes,
    cookies: Cookies,
    mesh: Mesh,
    revocations: Revocations,
    /// Questions about lanes, from anybody.
    questions: Bucket,
    timers: Timers,
    counters: Counters,
    backlog: Backlog,
    draining: bool,
}

struct Network {
    id: NetworkId,
    members: HashMap<PublicKey, Index>,
    connected: usize,
    share: Share,
    backlog: NetworkBacklog,
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Clients.
    pub clients: usize,
    /// Clients whose home this is.
    pub homes: usize,
    /// Clients on QUIC.
    pub quic: usize,
    /// Clients on TLS.
    pub tls: usize,
    /// Networks that have nodes here.
    pub networks: usize,
    /// Lanes.
    pub lanes: usize,
    /// What waits in queues, in bytes.
    pub waiting: usize,
    /// Whether the relay is going away.
    pub draining: bool,
}

impl Relay {
    /// A relay without clients. The seed must be unforeseeable.
    #[must_use]
    pub fn new(settings: Settings, seed: &[u8; 32], now: Instant) -> Self {
        Self {
            settings,
            networks: Slab::new(),
            network_ids: HashMap::new(),
            nodes: Slab::new(),
            connected: 0,
            lanes: Lanes::new(&derived(seed, b"lanes")),
            cookies: Cookies::new(&derived(seed, b"cookies"), now),
            questions: Bucket::full(now),
            mesh: Mesh::default(),
            revocations: Revocations::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            backlog: Backlog::default(),
            draining: false,
        }
    }

    /// Takes a frame that a client has sent; `chunk` holds its bytes, in memory that is not much larger.
    pub fn frame(
        &mut self,
        id: ClientId,
        frame: &ClientFrame<'_>,
        chunk: &Bytes,
        now: Now,
        out: &mut Output,
    ) {
        let Some(connection) = self.heard(id, now.at) else {
            if let ClientFrame::Send(_, batch) = frame {
                self.counters.drop(DropReason::ConnectionGone, batch.datagrams().len());
            }
            return;
        };
        match frame {
            ClientFrame::Send(to, batch) => {
                self.send(id, to, batch, chunk, now.at, out);
            }
            ClientFrame::Home(home) => {
                let moved = connection.home != *home;
                connection.home = *home;
                if moved {
                    connection.since = now.at;
                    self.announce(id.node, now.at, out);
                }
            }
            ClientFrame::Ping(number) => self.tell(id.node, RelayFrame::Pong(*number), now.at, out),
            ClientFrame::OpenLane(peer) => self.open_lane(id.node, peer, now.at, out),
            ClientFrame::CloseLane(lane) => self.close_own_lane(id.node, *lane, now.at, out),
            ClientFrame::Pong(_) => {}
            // Proofs are judged before they come here.
            ClientFrame::Hello(_) | ClientFrame::Proof(_) => {
                self.refuse(id, Refusal::Malformed, now.at, out);
            }
        }
    }

    /// A connection has written so much of what it was given.
    pub fn written(&mut self, id: ClientId, bytes: usize, now: Instant, out: &mut Output) {
        let connection = self.nodes.get_mut(id.node).and_then(|node| node.connection_mut(id));
        if let Some(connection) = connection {
            connection.queue.written(bytes);
            self.pump(id.node, now, out);
        }
    }

    /// Tells all clients that the relay ends in `within`, and takes no new ones.
    pub fn drain(&mut self, within: Duration, now: Instant, out: &mut Output) {
        if self.draining {
            return;
        }
        self.draining = true;
        self.timers.set(now + within, Due::End);
        let milliseconds = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let nodes: Vec<Index> = self.nodes.iter().map(|(index, _)| index).collect();
        for node in nodes {
            self.tell(node, RelayFrame::Drain(milliseconds), now, out);
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a table of lanes is to hold that begins empty.
    pub fn switched(&self) -> impl Iterator<Item = SwitchChange> {
        let rates = self.nodes.iter().flat_map(|(index, _)| self.lane_rates(index));
        let ends =
            self.lanes.iter().flat_map(|lane| [Side::A, Side::B].map(|side| lane.switch(side)));
        rates.chain(ends)
    }

    /// Where lanes count.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// How much there is of what.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            networks: self.networks.len(),
            lanes: self.lanes.len(),
            waiting: self.backlog.cost(),
            draining: self.draining,
            ..Totals::default()
        };
        for connection in self.nodes.iter().filter_map(|(_, node)| node.connection.as_ref()) {
            totals.clients += 1;
            totals.homes += usize::from(connection.home);
            match connection.way {
                Way::Quic => totals.quic += 1,
                Way::Tls => totals.tls += 1,
            }
        }
        totals
    }

    /// Notes a sign of life; `None` if the connection is not the node's latest.
    fn heard(&mut self, id: ClientId, now: Instant) -> Option<&mut Connection> {
        let connection = self.nodes.get_mut(id.node)?.connection_mut(id)?;
        connection.heard = now;
        Some(connection)
    }

    /// Whether a client may ask once more for what costs others something.
    fn may_ask(&mut self, node: Index, now: Instant) -> bool {
        self.nodes
            .get_mut(node)
            .is_some_and(|node| node.requests.take_within(1, REQUESTS, REQUESTS_AHEAD, now))
    }

    /// Gives a frame to a node's connection, if it has one.
    fn tell(&mut self, index: Index, frame: RelayFrame<'static>, now: Instant, out: &mut Output) {
        let node = self.nodes.get_mut(index);
        let Some(connection) = node.and_then(|node| node.connection.as_mut()) else { return };
        if connection.queue.push_control(frame) {
            self.pump(index, now, out);
        } else {
            self.end_connection(index, Some(Refusal::NotReading), now, out);
        }
    }
}

fn derived(seed: &[u8; 32], what: &[u8]) -> [u8; 32] {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed);
    let mut derived = [0; 32];
    derived.copy_from_slice(ring::hmac::sign(&key, what).as_ref());
    derived
}
