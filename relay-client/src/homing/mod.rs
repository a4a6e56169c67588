//! Which relay of a region a node is at home at, and how it moves.
//!
//! Make before break. When its relay says that it ends, a node connects to another, is at home there,
//! and only then leaves the old one, after [`LINGER`]. Nobody has to be told: the new relay tells
//! the region that the node is there now, and packets that are under way to the old one still arrive. A
//! relay that dies is noticed by pings, which are frequent only while there is traffic. A node whose
//! home is not the best of its relays goes back to a better one when that has returned, as gently.
//!
//! Sans-IO: the caller does each [`Action`], says what came of it, and calls
//! [`handle_timeout`](Homing::handle_timeout) when [`poll_timeout`](Homing::poll_timeout) is due.

mod back;
mod connection;
mod lanes;
mod relays;
#[cfg(test)]
mod tests;
mod timeouts;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::lane::LaneId;

use connection::Connection;
pub use connection::ConnectionId;
use lanes::Lanes;
pub use relays::RelayIndex;
use relays::Relays;

/// How long the old home is listened to after the new one is there.
pub const LINGER: Duration = Duration::from_millis(500);
/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to a relay, and say [`admitted`](Homing::admitted) or [`ended`](Homing::ended).
    Connect(ConnectionId, RelayIndex),
    /// Say that this relay is our home ([`Session::home`](crate::Session::home)).
    Home(ConnectionId),
    /// Ask whether the relay is there ([`Session::ping`](crate::Session::ping)).
    Ping(ConnectionId, u64),
    /// Ask for a lane ([`Session::open_lane`](crate::Session::open_lane)).
    OpenLane(ConnectionId, PublicKey),
    /// End the connection, and let go of its lanes.
    Close(ConnectionId),
}

/// How packets for a peer are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// By a lane of this connection.
    Lane(ConnectionId, LaneId),
    /// By the connection.
    Connection(ConnectionId),
}

/// A node's connections to the relays of a region.
pub struct Homing {
    relays: Relays,
    connections: Vec<Connection>,
    lanes: Lanes,
    home: Option<ConnectionId>,
    /// When to look for a home, if that is not under way.
    look: Option<Instant>,
    numbers: u32,
    /// Whether we had a home and have none.
    lost: bool,
    /// Since when there is none.
    without: Option<Instant>,
    /// Decides how soon this node leaves a relay that ends, so that not all come to the next at once.
    random: u32,
    actions: VecDeque<Action>,
}

impl Homing {
    /// A node that may use these many relays, the best first.
    #[must_use]
    pub fn new(relays: usize, random: u32, now: Instant) -> Self {
        Self {
            relays: Relays::new(relays, now),
            connections: Vec::new(),
            lanes: Lanes::default(),
            home: None,
            look: Some(now),
            numbers: 0,
            lost: false,
            without: Some(now),
            random,
            actions: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Where we are at home.
    #[must_use]
    pub const fn home(&self) -> Option<ConnectionId> {
        self.home
    }

    /// Whether the region does not serve: there is no home, and there was time to find another.
    #[must_use]
    pub fn is_down(&self, now: Instant) -> bool {
        let patience = match (self.lost, self.relays.count()) {
            (true, 1) => Duration::ZERO,
            (true, _) => timeouts::HURRY,
            (false, _) => timeouts::FIRST,
        };
        self.without.is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// How to send packets to a peer now.
    #[must_use]
    pub fn path(&self, peer: &PublicKey) -> Option<Path> {
        let home = self.connections.iter().find(|c| Some(c.id) == self.home)?;
        // A relay that ends knows best where the peer is by now: the lane may lead to where it was.
        let lane = self.lanes.bound(home.id, peer).filter(|_| home.ends.is_none());
        Some(lane.map_or(Path::Connection(home.id), |lane| Path::Lane(home.id, lane)))
    }

    /// A relay serves us.
    pub fn admitted(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.find(id) else { return };
        if connection.is_admitted() {
            // By a new ticket.
            return;
        }
        connection.admit(now);
        let relay = connection.relay;
        self.relays.works(relay);
        let wanted = self.needs_home() || self.is_better(relay);
        if !wanted {
            return self.close(id);
        }
        let old = self.home.replace(id);
        (self.look, self.lost, self.without) = (None, false, None);
        self.actions.push_back(Action::Home(id));
        if let Some(old) = old.and_then(|old| self.find(old)) {
            let leave = now + LINGER;
            old.close = Some(old.ends.map_or(leave, |ends| ends.min(leave)));
        }
        if let Some(old) = old {
            for peer in self.lanes.peers(old) {
                self.actions.push_back(Action::OpenLane(id, peer));
            }
        }
        let others: Vec<_> =
            self.connections.iter().filter(|c| !c.is_admitted()).map(|c| c.id).collect();
        others.into_iter().for_each(|other| self.close(other));
    }

    /// A connection was not made, or has ended.
    pub fn ended(&mut self, id: ConnectionId, now: Instant) {
        let Some(at) = self.connections.iter().position(|c| c.id == id) else { return };
        let gone = self.connections.swap_remove(at);
        self.lanes.forget(id);
        if gone.close.is_none() {
            self.relays.fails(gone.relay, now);
        }
        if self.home == Some(id) {
            self.relays.lost(gone.relay, now.saturating_duration_since(gone.since));
            self.lose_home(now);
        }
        if self.needs_home() && gone.close.is_none() {
            self.look = Some(now);
            self.handle_timeout(now);
        }
    }

    /// A relay says that it ends.
    pub fn draining(&mut self, id: ConnectionId, within: Duration, now: Instant) {
        let Some(connection) = self.find(id) else { return };
        if connection.ends.is_some() {
            return;
        }
        connection.ends = Some(now + within);
        let (relay, since) = (connection.relay, connection.since);
        self.relays.leaves(relay, now);
        if self.home == Some(id) {
            self.relays.lost(relay, now.saturating_duration_since(since));
            // Some of the first quarter: the rest is for those whose first try fails.
            let part = within.as_nanos() / 4 * u128::from(self.random) / u128::from(u32::MAX);
            let wait = Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX));
            self.look = Some(now + wait);
        }
    }

    /// Something came by a connection.
    pub fn heard(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.find(id) {
            connection.liveness.heard(now);
        }
    }

    /// The answer to our ping came.
    pub fn pong(&mut self, id: ConnectionId, number: u64, now: Instant) {
        if let Some(connection) = self.find(id) {
            connection.liveness.pong(number, now);
        }
    }

    /// Packets were sent by a connection or one of its lanes.
    pub fn sent(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.find(id) {
            connection.liveness.sent(now);
        }
    }

    /// A lane was opened, by us or by the peer.
    pub fn lane_opened(&mut self, id: ConnectionId, peer: PublicKey, lane: LaneId) {
        if self.find(id).is_some() {
            self.lanes.opened(id, peer, lane);
        }
    }

    /// Our end of a lane is bound, or is not any more.
    pub fn lane_bound(&mut self, id: ConnectionId, lane: LaneId, bound: bool) {
        self.lanes.set_bound(id, lane, bound);
    }

    /// A lane is no more.
    pub fn lane_closed(&mut self, id: ConnectionId, lane: LaneId) {
        self.lanes.closed(id, lane);
    }

    /// Whether there is no home, or one that ends.
    fn needs_home(&self) -> bool {
        let home = self.connections.iter().find(|c| Some(c.id) == self.home);
        home.is_none_or(|home| home.ends.is_some())
    }

    const fn lose_home(&mut self, now: Instant) {
        (self.home, self.lost, self.without) = (None, true, Some(now));
    }

    const fn next_id(&mut self) -> ConnectionId {
        self.numbers = self.numbers.wrapping_add(1);
        ConnectionId(self.numbers)
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.retain(|connection| connection.id != id);
        self.lanes.forget(id);
        self.actions.push_back(Action::Close(id));
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }
}
