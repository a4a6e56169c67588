//! A shard's thread. A round of it: wait; read the clock, once; what the socket has, and what time and
//! others bring, to the connections; what those have to say, to the hub, all at once; what the hub gives
//! and they have to write, to the socket, in as few calls as there can be.

use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, Incoming};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{Connection, Rounds};
use super::mailbox::{End, Mailbox};
use super::outgoing::Outgoing;
use super::timers::Timers;
use crate::server::admission::Door;
use crate::server::udp::{RECEIVE_BATCH, Received, Udp};

/// See the module.
pub(super) struct Shard {
    udp: Udp,
    endpoint: Endpoint,
    /// By their handles.
    connections: Vec<Option<Box<Connection>>>,
    open: usize,
    rounds: Rounds,
    timers: Timers,
    outgoing: Outgoing,
    /// Connections that a round has to do with.
    touched: Vec<ConnectionHandle>,
    /// Whether the socket has more than the last round has read.
    has_more: bool,
    ends: Option<Ends>,
}

/// When those that are left are closed, and whether they are: then, when it ends.
struct Ends {
    at: Instant,
    closed: bool,
}

impl Shard {
    pub(super) fn new(
        udp: Udp,
        endpoint: Endpoint,
        door: Arc<Door>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self {
            outgoing: Outgoing::new(&udp),
            udp,
            endpoint,
            connections: Vec::new(),
            open: 0,
            rounds: Rounds::new(door, mailbox),
            timers: Timers::default(),
            touched: Vec::new(),
            has_more: false,
            ends: None,
        }
    }

    /// Serves until it is told to end.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut received = Received::new();
        while !(self.ends.is_some() && self.open == 0) {
            let readable = self.wait()?;
            let now = Instant::now();
            if readable {
                self.receive(&mut received, now);
            }
            if self.heed_mail(now) {
                break;
            }
            self.heed_time(now);
            self.settle(now);
        }
        Ok(())
    }

    /// Waits until there is something to do; true if the socket has something.
    fn wait(&mut self) -> io::Result<bool> {
        if mem::take(&mut self.has_more) {
            return Ok(true);
        }
        let mailbox = &self.rounds.mailbox;
        let left = if self.touched.is_empty() && mailbox.may_rest() {
            let ends = self.ends.as_ref().map(|ends| ends.at);
            let due = [self.timers.next(), ends].into_iter().flatten().min();
            due.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&self.udp, PollFlags::IN),
            PollFd::from_borrowed_fd(mailbox.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [readable, rung] = fds.map(|fd| !fd.revents().is_empty());
        mailbox.awake(rung);
        Ok(readable)
    }

    /// Gives datagrams to their connections.
    fn receive(&mut self, received: &mut Received, now: Instant) {
        let count = match self.udp.receive(received) {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "receiving for QUIC failed");
                return;
            }
        };
        self.has_more = count == RECEIVE_BATCH;
        for run in received.runs(count) {
            let ecn = run.arrival.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            let (from, local) = (run.arrival.from, run.arrival.local);
            for datagram in run.bytes.chunks(run.stride) {
                // In memory of its own: what it carries may wait for long.
                let datagram = BytesMut::from(datagram);
                let mut answer = self.outgoing.room();
                match self.endpoint.handle(now, from, local, ecn, datagram, &mut answer) {
                    Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                        if let Some(connection) = self.touch(handle) {
                            connection.quic.handle_event(event);
                        }
                        self.outgoing.keep(answer);
                    }
                    Some(DatagramEvent::NewConnection(incoming)) => {
                        self.greet(incoming, now, answer);
                    }
                    Some(DatagramEvent::Response(transmit)) => {
                        self.outgoing.add(transmit, answer, &self.udp);
                    }
                    None => self.outgoing.keep(answer),
                }
            }
        }
    }

    /// Takes a connection, if there is a place for it.
    fn greet(&mut self, incoming: Incoming, now: Instant, mut answer: Vec<u8>) {
        let door = self.rounds.door.clone();
        if door.is_busy() && incoming.may_retry() {
            // Made-up sources would take the places of true ones. The answer is no longer than the
            // question, and nothing is kept.
            match self.endpoint.retry(incoming, &mut answer) {
                Ok(transmit) => self.outgoing.add(transmit, answer, &self.udp),
                Err(refused) => self.endpoint.ignore(refused.into_incoming()),
            }
            return;
        }
        let place = match self.ends {
            None => door.enter(incoming.remote_address().ip()),
            Some(_) => None,
        };
        let Some(place) = place else {
            // Not even a refusal: nobody knows yet whether the source is true.
            self.endpoint.ignore(incoming);
            return;
        };
        match self.endpoint.accept(incoming, now, &mut answer, None) {
            Ok((handle, quic)) => {
                let connection = Connection::new(handle, quic, place, now + door.time);
                if self.connections.len() <= handle.0 {
                    self.connections.resize_with(handle.0 + 1, || None);
                }
                self.connections[handle.0] = Some(Box::new(connection));
                self.open += 1;
                self.touch(handle);
                self.outgoing.keep(answer);
            }
            Err(error) => {
                door.failed();
                if let Some(transmit) = error.response {
                    self.outgoing.add(transmit, answer, &self.udp);
                }
            }
        }
    }

    /// Hears what others say; true if it is over.
    fn heed_mail(&mut self, now: Instant) -> bool {
        let mut ready = Vec::new();
        let end = self.rounds.mailbox.take(&mut ready);
        for handle in ready {
            if let Some(connection) = self.touch(handle) {
                connection.ring();
            }
        }
        match (end, &mut self.ends) {
            (Some(End::Stop), _) => true,
            (Some(End::At(at)), ends @ None) => {
                *ends = Some(Ends { at, closed: false });
                false
            }
            (_, Some(Ends { at, closed })) if *at <= now => {
                if mem::replace(closed, true) {
                    return true;
                }
                // Time for the word to arrive.
                *at = now + Duration::from_secs(1);
                for connection in self.connections.iter_mut().flatten() {
                    connection.shut(&mut self.rounds, now);
                }
                self.touched = (0..self.connections.len()).map(ConnectionHandle).collect();
                false
            }
            _ => false,
        }
    }

    /// Looks at those for whom it is time.
    fn heed_time(&mut self, now: Instant) {
        while let Some(handle) = self.timers.pop(now) {
            let Some(connection) = self.connections.get_mut(handle.0).and_then(Option::as_mut)
            else {
                continue;
            };
            connection.armed = None;
            let due = connection.due();
            if due.is_none_or(|due| due > now) {
                self.timers.arm(handle, &mut connection.armed, due);
                continue;
            }
            connection.quic.handle_timeout(now);
            self.touch(handle);
        }
    }

    /// Brings what has happened to its end.
    fn settle(&mut self, now: Instant) {
        for &handle in &self.touched {
            if let Some(Some(connection)) = self.connections.get_mut(handle.0) {
                connection.heed(&mut self.rounds, now);
            }
        }
        self.tell();
        // What the hub has given for it leaves in the same round.
        self.heed_mail(now);
        for handle in mem::take(&mut self.touched) {
            self.write(handle, now);
        }
        self.tell();
        self.outgoing.flush(&self.udp);
    }

    /// Writes what there is for a connection, and sends what it has to send.
    fn write(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(Some(connection)) = self.connections.get_mut(handle.0) else { return };
        connection.touched = false;
        connection.write(&mut self.rounds, now);
        let mut drained = false;
        while let Some(event) = connection.quic.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(answer) = self.endpoint.handle_event(handle, event) {
                connection.quic.handle_event(answer);
            }
        }
        if drained {
            self.timers.forget(handle, &mut connection.armed);
            self.connections[handle.0] = None;
            self.open -= 1;
            return;
        }
        let has_more = self.outgoing.take(&mut connection.quic, now, &self.udp);
        // What has left has made room.
        let heeded = connection.heed(&mut self.rounds, now);
        let due = connection.due();
        self.timers.arm(handle, &mut connection.armed, due);
        if has_more || heeded {
            self.touch(handle);
        }
    }

    fn tell(&mut self) {
        if !self.rounds.to_hub.is_empty()
            && self.rounds.door.hub.tell_all(&mut self.rounds.to_hub).is_err()
        {
            // It has ended, and with it the lines: each connection sees that.
            self.rounds.to_hub.clear();
        }
    }

    fn touch(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(handle.0)?.as_deref_mut()?;
        if !mem::replace(&mut connection.touched, true) {
            self.touched.push(handle);
        }
        Some(connection)
    }
}
