//! The relays of one region for one key of the node: `Homing` with connections around it.

use std::collections::HashMap;
use std::time::Instant;

use proto::control::{Region, RegionId, Relay};
use proto::key::PublicKey;
use proto::relay::Batch;
use proto::ticket::SignedTicket;
use relay_client::{Action, ConnectionId, Event, Homing, Path};
use tokio::sync::mpsc;

use super::LineId;
use super::connect::{Admission, Incoming, Line, run};
use crate::mesh::secret::Secret;

/// Which region, and by which of the node's keys.
pub(super) type ClientId = (RegionId, PublicKey);

pub(super) struct Client {
    id: ClientId,
    relays: Vec<Relay>,
    pub(super) ticket: SignedTicket,
    identity: Secret,
    homing: Homing,
    lines: HashMap<ConnectionId, Line>,
    places: HashMap<ConnectionId, usize>,
    /// Whether the node is at home here, or only sends to those who are.
    is_home: bool,
    pub(super) used: Instant,
}

impl Client {
    pub(super) fn new(
        id: ClientId,
        region: &Region,
        (ticket, identity): (SignedTicket, Secret),
        is_home: bool,
        random: u32,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            relays: region.relays.clone(),
            ticket,
            identity,
            homing: Homing::new(region.relays.len(), random, now),
            lines: HashMap::new(),
            places: HashMap::new(),
            is_home,
            used: now,
        }
    }

    pub(super) fn is_of(&self, region: &Region) -> bool {
        self.relays == region.relays
    }

    /// A new ticket for the same key.
    pub(super) fn renew(&mut self, ticket: SignedTicket) {
        if self.ticket != ticket {
            self.ticket = ticket;
            for line in self.lines.values_mut() {
                line.session.renew(ticket);
                line.flush();
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.homing.poll_timeout()
    }

    /// The relay that serves, and what carries the connection.
    pub(super) fn home(&self) -> Option<(String, &'static str)> {
        let id = self.homing.home()?;
        let relay = self.relays.get(*self.places.get(&id)?)?;
        Some((relay.host.clone(), self.lines.get(&id)?.carrier))
    }

    /// Lets time pass, and does what is to be done.
    pub(super) fn act(&mut self, endpoint: &quinn::Endpoint, incoming: &mpsc::Sender<Incoming>) {
        self.homing.handle_timeout(Instant::now());
        while let Some(action) = self.homing.poll_action() {
            match action {
                Action::Connect(id, relay) => {
                    let Some(place) = self.relays.get(relay.0) else { continue };
                    self.places.insert(id, relay.0);
                    let admission = Admission {
                        relay: place.clone(),
                        identity: self.identity.clone(),
                        ticket: self.ticket,
                    };
                    let line = LineId { client: self.id, connection: id };
                    tokio::spawn(run(endpoint.clone(), admission, line, incoming.clone()));
                }
                Action::Home(id) => {
                    let home = self.is_home;
                    self.say(id, |line| line.session.home(home));
                }
                Action::Ping(id, number) => self.say(id, |line| line.session.ping(number)),
                // No lanes: the path engine has them.
                Action::OpenLane(..) => {}
                Action::Close(id) => {
                    self.lines.remove(&id);
                    self.places.remove(&id);
                }
            }
        }
    }

    /// Sends by the home; false if there is none now.
    pub(super) fn send(&mut self, to: PublicKey, batch: Batch<'_>) -> bool {
        let Some(Path::Connection(id) | Path::Lane(id, _)) = self.homing.path(&to) else {
            return false;
        };
        let Some(line) = self.lines.get_mut(&id) else { return false };
        line.send(to, batch);
        let now = Instant::now();
        self.homing.sent(id, now);
        self.used = now;
        true
    }

    /// Takes what a connection brought; gives packets to `deliver`.
    pub(super) fn take(
        &mut self,
        incoming: Incoming,
        mut deliver: impl FnMut(PublicKey, Batch<'_>),
    ) {
        let now = Instant::now();
        match incoming {
            Incoming::Connected(id, line) => {
                if self.places.contains_key(&id.connection) {
                    self.lines.insert(id.connection, *line);
                }
            }
            Incoming::Ended(id, reason) => {
                tracing::debug!("a connection to a relay has ended: {reason}");
                self.ended(id.connection, now);
            }
            Incoming::Datagram(LineId { connection: id, .. }, bytes) => {
                let Some(line) = self.lines.get_mut(&id) else { return };
                if let Ok((from, batch)) = line.session.receive_datagram(&bytes) {
                    self.homing.heard(id, now);
                    deliver(from, batch);
                }
            }
            Incoming::Frame(LineId { connection: id, .. }, frame) => {
                let Some(line) = self.lines.get_mut(&id) else { return };
                match line.session.receive(&frame) {
                    Ok(Some(Event::Received(from, batch))) => {
                        self.homing.heard(id, now);
                        deliver(from, batch);
                    }
                    Ok(Some(event)) => self.hear(id, &event, now),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!("a relay of region {}: {error}", self.id.0.0);
                        return self.ended(id, now);
                    }
                }
                self.say(id, |_| {});
            }
        }
    }

    fn hear(&mut self, id: ConnectionId, event: &Event<'_>, now: Instant) {
        match event {
            Event::Admitted(_) => self.homing.admitted(id, now),
            Event::Pong(number) => self.homing.pong(id, *number, now),
            Event::Drain(within) => self.homing.draining(id, *within, now),
            // Whoever is not there may come; lanes are not asked for.
            Event::PeerGone(_)
            | Event::Received(..)
            | Event::LaneOpened(_)
            | Event::LaneRefused(..)
            | Event::LaneClosed(_) => {}
        }
    }

    fn ended(&mut self, id: ConnectionId, now: Instant) {
        self.lines.remove(&id);
        self.places.remove(&id);
        self.homing.ended(id, now);
    }

    fn say(&mut self, id: ConnectionId, what: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&id) {
            what(line);
            line.flush();
        }
    }
}
