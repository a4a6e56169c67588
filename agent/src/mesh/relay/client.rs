//! The relays of one place for one key of the node: `Homing` with connections around it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proto::control::Relay;
use proto::key::PublicKey;
use proto::lane::LaneId;
use proto::relay::Batch;
use proto::ticket::SignedTicket;
use relay_client::{Action, ConnectionId, Event, Homing, Path};
use tokio::sync::mpsc;

use super::LineId;
use super::connect::{Admission, Incoming, Line, run};
use super::lanes::{Heard, LaneOf, Lanes};
use super::plan::Place;
use crate::mesh::secret::Secret;

/// Which relays, and by which of the node's keys.
pub(super) type ClientId = (Place, PublicKey);

/// The name of the way by a lane, beside those of connections.
const LANE: &str = "lane";
/// How long after a lane was asked for, and did not come, it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The same at a peer that relays, where packets go by lanes only: the other end may be about to come.
const ASK_PEER_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Client {
    id: ClientId,
    relays: Vec<Relay>,
    pub(super) ticket: SignedTicket,
    identity: Secret,
    homing: Homing,
    lines: HashMap<ConnectionId, Line>,
    places: HashMap<ConnectionId, usize>,
    /// Whether connections have ended.
    ended: bool,
    /// Why the last one did.
    reason: Option<String>,
    /// When lanes were asked for.
    asked: HashMap<(ConnectionId, PublicKey), Instant>,
    /// Whether the node is at home here, or only sends to those who are.
    is_home: bool,
    pub(super) used: Instant,
}

impl Client {
    pub(super) fn new(
        id: ClientId,
        relays: &[Relay],
        (ticket, identity): (SignedTicket, Secret),
        is_home: bool,
        random: u32,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            relays: relays.to_vec(),
            ticket,
            identity,
            homing: Homing::new(relays.len(), random, now),
            lines: HashMap::new(),
            places: HashMap::new(),
            ended: false,
            reason: None,
            asked: HashMap::new(),
            is_home,
            used: now,
        }
    }

    pub(super) fn is_of(&self, relays: &[Relay]) -> bool {
        self.relays == relays
    }

    /// Whether the region does not serve.
    pub(super) fn is_down(&self, now: Instant) -> bool {
        self.homing.is_down(now)
    }

    /// Whether the node is at home here from now on.
    pub(super) fn set_home(&mut self, is_home: bool) {
        if std::mem::replace(&mut self.is_home, is_home) == is_home {
            return;
        }
        // Peers that do not know it yet send here for a while.
        self.used = Instant::now();
        if let Some(id) = self.homing.home() {
            self.say(id, |line| line.session.home(is_home));
        }
    }

    /// Whether it was refused, or was to be, by a node key that is none any more: a new one does not wait.
    pub(super) fn is_stale(&self, identity: &Secret) -> bool {
        self.identity != *identity && self.homing.home().is_none()
    }

    /// A new ticket for the same key, or another node key.
    pub(super) fn renew(&mut self, ticket: SignedTicket, identity: &Secret) {
        if self.identity != *identity {
            self.identity = identity.clone();
            for line in self.lines.values_mut() {
                if let Ok(key) = identity.signing_key() {
                    line.session.identify(key);
                }
            }
        }
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
    pub(super) fn home(&self) -> Option<(&str, &'static str)> {
        let id = self.homing.home()?;
        let relay = self.relays.get(*self.places.get(&id)?)?;
        Some((&relay.host, self.lines.get(&id)?.carrier))
    }

    /// Why no relay serves, if none does: what the last one that was tried said.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.homing.home().is_none())
    }

    /// Lets time pass, and does what is to be done; whether connections have ended since the last time.
    pub(super) fn act(
        &mut self,
        endpoint: &quinn::Endpoint,
        incoming: &mpsc::Sender<Incoming>,
    ) -> bool {
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
                Action::OpenLane(id, peer) => self.ask_lane(id, peer),
                Action::Close(id) => self.forget(id),
            }
        }
        std::mem::take(&mut self.ended)
    }

    /// Sends by the home, by a lane if there is one; says by what, or nothing if there is no home now.
    pub(super) fn send(
        &mut self,
        to: PublicKey,
        batch: Batch<'_>,
        lanes: &mut Lanes,
    ) -> Option<&'static str> {
        let path = self.homing.path(&to)?;
        let (Path::Connection(id) | Path::Lane(id, _)) = path;
        let way = match path {
            Path::Lane(_, lane) => {
                lanes.send(self.lane(id, lane), batch);
                LANE
            }
            Path::Connection(_) => {
                let line = self.lines.get_mut(&id)?;
                line.send(to, batch);
                let carrier = line.carrier;
                self.ask_lane(id, to);
                carrier
            }
        };
        let now = Instant::now();
        self.homing.sent(id, now);
        self.used = now;
        Some(way)
    }

    /// Whether packets to a peer may leave by a lane.
    pub(super) fn has_lane_to(&self, peer: &PublicKey) -> bool {
        matches!(self.homing.path(peer), Some(Path::Lane(..)))
    }

    /// Sends by a lane, if there is one.
    pub(super) fn send_by_lane(
        &mut self,
        to: PublicKey,
        batch: Batch<'_>,
        lanes: &mut Lanes,
    ) -> bool {
        self.has_lane_to(&to) && self.send(to, batch, lanes).is_some()
    }

    /// Asks for a lane to a peer, if there is none.
    pub(super) fn want_lane(&mut self, peer: PublicKey) {
        if let Some(Path::Connection(id)) = self.homing.path(&peer) {
            self.ask_lane(id, peer);
        }
    }

    /// Whether this is a connection of ours.
    pub(super) fn has(&self, id: ConnectionId) -> bool {
        self.lines.contains_key(&id)
    }

    /// A lane of a connection.
    fn lane(&self, connection: ConnectionId, lane: LaneId) -> LaneOf {
        LaneOf { client: self.id, connection, lane }
    }

    /// Asks for a lane, if that was not done a moment ago.
    fn ask_lane(&mut self, id: ConnectionId, peer: PublicKey) {
        let now = Instant::now();
        let asked = self.asked.get(&(id, peer));
        let again = match self.id.0 {
            Place::Region(_) => ASK_AGAIN,
            Place::Peer(_) => ASK_PEER_AGAIN,
        };
        if asked.is_some_and(|at| now.saturating_duration_since(*at) < again) {
            return;
        }
        self.asked.insert((id, peer), now);
        self.say(id, |line| line.session.open_lane(peer));
    }

    /// What became of a lane's end.
    pub(super) fn lane_heard(&mut self, of: LaneOf, heard: &Heard<'_>) {
        match heard {
            Heard::Packet(..) => self.homing.heard(of.connection, Instant::now()),
            Heard::Bound(bound) => self.homing.lane_bound(of.connection, of.lane, *bound),
            Heard::Lost => self.homing.lane_closed(of.connection, of.lane),
        }
    }

    /// Takes what a connection brought; gives packets to `deliver`.
    pub(super) fn take(
        &mut self,
        incoming: Incoming,
        lanes: &mut Lanes,
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
                self.ended(id.connection, &reason, now);
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
                    Ok(Some(event)) => self.hear(id, &event, lanes, now),
                    Ok(None) => {}
                    Err(error) => {
                        return self.ended(id, &error.to_string(), now);
                    }
                }
                self.say(id, |_| {});
            }
        }
    }

    fn hear(&mut self, id: ConnectionId, event: &Event<'_>, lanes: &mut Lanes, now: Instant) {
        match event {
            Event::Admitted(_) => self.homing.admitted(id, now),
            Event::Pong(number) => self.homing.pong(id, *number, now),
            Event::Drain(within) => self.homing.draining(id, *within, now),
            Event::LaneOpened(opened) => {
                self.homing.lane_opened(id, opened.peer, opened.lane);
                let near = self.lines.get(&id).map(|line| line.remote);
                lanes.open(self.lane(id, opened.lane), opened, near);
            }
            Event::LaneClosed(lane) => {
                self.homing.lane_closed(id, *lane);
                lanes.close(self.lane(id, *lane));
            }
            // The connection goes on carrying what the lane would.
            Event::LaneRefused(peer, why) => {
                tracing::debug!(%peer, ?why, "no lane");
            }
            // Whoever is not there may come.
            Event::PeerGone(_) | Event::Received(..) => {}
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        self.lines.remove(&id);
        self.places.remove(&id);
        self.asked.retain(|(of, _), _| *of != id);
        self.ended = true;
    }

    fn ended(&mut self, id: ConnectionId, reason: &str, now: Instant) {
        // One that was closed here is known no more.
        if let Some(relay) = self.places.get(&id).and_then(|place| self.relays.get(*place)) {
            let reason = format!("{}: {reason}", relay.host);
            if self.reason.as_ref() != Some(&reason) {
                tracing::info!("a connection to a relay has ended: {reason}");
            }
            self.reason = Some(reason);
        }
        self.forget(id);
        self.homing.ended(id, now);
    }

    fn say(&mut self, id: ConnectionId, what: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&id) {
            what(line);
            line.flush();
        }
    }
}
