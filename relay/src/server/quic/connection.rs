//! A connection, from its first datagram until nothing is left of it.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{ConnectionHandle, Event, StreamEvent, StreamId, VarInt};

use super::client::Client;
use super::greeting::{Greeting, Outcome};
use super::mailbox::Mailbox;
use crate::server::admission::Door;
use crate::server::hub::{ToConnection, ToHub};
use crate::server::sources::Place;

/// How long the last frames may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Connection {
    pub(super) quic: quinn_proto::Connection,
    handle: ConnectionHandle,
    stage: Stage,
    /// Whether this round or the next has to do with it.
    pub(super) touched: bool,
    /// When it is looked at.
    pub(super) armed: Option<Instant>,
}

enum Stage {
    Greeting(Box<Greeting>),
    Client(Box<Client>),
    /// The last frames are on their way, by this stream, and so long.
    Ending(StreamId, Instant),
    Closed,
}

/// What a round gives to a connection.
pub(super) struct Round<'a> {
    pub(super) now: Instant,
    pub(super) door: &'a Door,
    pub(super) to_hub: &'a mut Vec<ToHub>,
    /// Room for deliveries.
    pub(super) given: &'a mut Vec<ToConnection>,
    mailbox: &'a Arc<Mailbox>,
    handle: ConnectionHandle,
}

/// What of a round is there for all of its connections.
pub(super) struct Rounds {
    pub(super) door: Arc<Door>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) to_hub: Vec<ToHub>,
    given: Vec<ToConnection>,
}

impl Rounds {
    pub(super) const fn new(door: Arc<Door>, mailbox: Arc<Mailbox>) -> Self {
        Self { door, mailbox, to_hub: Vec::new(), given: Vec::new() }
    }

    /// Tells the hub what there is to tell.
    pub(super) fn tell(&mut self) {
        if !self.to_hub.is_empty() && self.door.hub.tell_all(&mut self.to_hub).is_err() {
            // It has ended, and with it the lines: each connection sees that.
            self.to_hub.clear();
        }
    }

    fn round(&mut self, handle: ConnectionHandle, now: Instant) -> Round<'_> {
        let Self { door, mailbox, to_hub, given } = self;
        Round { now, door, to_hub, given, mailbox, handle }
    }
}

impl Round<'_> {
    /// What wakes this connection.
    pub(super) fn waker(&self) -> Waker {
        self.mailbox.waker(self.handle)
    }
}

impl Connection {
    pub(super) fn new(
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        place: Place,
        until: Instant,
    ) -> Self {
        let stage = Stage::Greeting(Box::new(Greeting::new(place, until)));
        Self { quic, handle, stage, touched: false, armed: None }
    }

    /// The hub may have given something.
    pub(super) const fn ring(&mut self) {
        if let Stage::Client(client) = &mut self.stage {
            client.ring();
        }
    }

    /// When to look at it next.
    pub(super) fn due(&mut self) -> Option<Instant> {
        let own = match &self.stage {
            Stage::Greeting(greeting) => Some(greeting.until),
            Stage::Client(client) => client.until(),
            Stage::Ending(_, until) => Some(*until),
            Stage::Closed => None,
        };
        [own, self.quic.poll_timeout()].into_iter().flatten().min()
    }

    /// Takes what has happened; false if nothing has.
    pub(super) fn heed(&mut self, rounds: &mut Rounds, now: Instant) -> bool {
        let mut round = rounds.round(self.handle, now);
        let mut heeded = false;
        while let Some(event) = self.quic.poll() {
            heeded = true;
            if let Event::ConnectionLost { .. } = event {
                self.lost(&mut round);
                continue;
            }
            match &mut self.stage {
                Stage::Greeting(greeting) => greeting.note(&event, &mut self.quic),
                Stage::Client(client) => {
                    if client.heed(&event, &mut self.quic, &mut round).is_err() {
                        self.end(&mut round);
                    }
                }
                Stage::Ending(last, _) => match event {
                    Event::Stream(
                        StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. },
                    ) if id == *last => self.close(now),
                    _ => {}
                },
                Stage::Closed => {}
            }
        }
        self.go_on(&mut round);
        heeded
    }

    /// Goes on with what does not come by an event.
    fn go_on(&mut self, round: &mut Round<'_>) {
        match &mut self.stage {
            Stage::Greeting(greeting) => match greeting.go_on(&mut self.quic, round) {
                Outcome::Waits => {}
                Outcome::Client(mut client) => {
                    let over = client.catch_up(&mut self.quic, round).is_err();
                    self.stage = Stage::Client(client);
                    if over {
                        self.end(round);
                    }
                }
                Outcome::Refused(control) => self.finish(control, round.now),
                Outcome::Failed => {
                    round.door.failed();
                    self.close(round.now);
                }
            },
            Stage::Ending(_, until) if round.now >= *until => self.close(round.now),
            _ => {}
        }
    }

    /// Writes what there is for it.
    pub(super) fn write(&mut self, rounds: &mut Rounds, now: Instant) {
        if let Stage::Client(client) = &mut self.stage {
            let mut round = rounds.round(self.handle, now);
            if client.write(&mut self.quic, &mut round).is_err() {
                self.end(&mut round);
            }
        }
    }

    /// Ends it at once, whatever it is.
    pub(super) fn shut(&mut self, rounds: &mut Rounds, now: Instant) {
        self.has_left(&mut rounds.to_hub);
        self.close(now);
    }

    /// Tells the hub, if this is a client.
    pub(super) fn has_left(&self, to_hub: &mut Vec<ToHub>) {
        if let Stage::Client(client) = &self.stage {
            to_hub.push(ToHub::Left(client.id));
        }
    }

    /// Ends a client's service, with what was said last.
    fn end(&mut self, round: &mut Round<'_>) {
        self.has_left(round.to_hub);
        if let Stage::Client(client) = &self.stage {
            let control = client.control;
            self.finish(control, round.now);
        }
    }

    /// Ends when the stream's last words have arrived.
    fn finish(&mut self, control: StreamId, now: Instant) {
        if self.quic.send_stream(control).finish().is_ok() {
            self.stage = Stage::Ending(control, now + LAST_WORDS);
        } else {
            self.close(now);
        }
    }

    fn lost(&mut self, round: &mut Round<'_>) {
        self.has_left(round.to_hub);
        if let Stage::Greeting(_) = self.stage {
            round.door.failed();
        }
        self.stage = Stage::Closed;
    }

    fn close(&mut self, now: Instant) {
        self.quic.close(now, VarInt::from_u32(0), Bytes::new());
        self.stage = Stage::Closed;
    }
}
