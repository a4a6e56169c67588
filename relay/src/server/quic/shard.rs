//! A shard's thread. A round of it: wait; read the clock, once; what the socket has, and what time and
//! others bring, to the connections; what those have to say, to the hub, all at once; what the hub gives
//! and they have to write, to the socket, in as few calls as there can be.

use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EcnCodepoint, Endpoint, Incoming};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{Connection, Rounds};
use super::mailbox::{End, Mail, Mailbox};
use super::outgoing::Outgoing;
use super::steering::Steering;
use super::table::{Service, Table};
use super::timers::Timers;
use crate::server::admission::Door;
use crate::server::udp::{Arrival, RECEIVE_BATCH, Received, Udp};

/// How long the word that all are closed may take to arrive.
const LAST_WORD: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Shard {
    all: Shards,
    table: Table,
    service: Service,
    /// Room for what others say.
    mail: Mail,
    /// Whether the socket has more than the last round has read.
    has_more: bool,
    ends: Option<Ends>,
}

/// All shards, and which of them this one is.
pub(super) struct Shards {
    pub(super) steering: Steering,
    pub(super) number: u8,
    pub(super) mailboxes: Arc<[Arc<Mailbox>]>,
}

/// When those that are left are closed, and whether they are: then, when it ends.
struct Ends {
    at: Instant,
    closed: bool,
}

impl Shards {
    /// Where a datagram belongs, if that is another shard.
    fn another(&self, datagram: &[u8]) -> Option<&Mailbox> {
        let shard = self.steering.of(datagram);
        (shard != self.number).then(|| &*self.mailboxes[usize::from(shard)])
    }
}

impl Shard {
    pub(super) fn new(all: Shards, udp: Udp, endpoint: Endpoint, door: Arc<Door>) -> Self {
        let mailbox = all.mailboxes[usize::from(all.number)].clone();
        let (rounds, timers) = (Rounds::new(door, mailbox), Timers::default());
        let outgoing = Outgoing::new(&udp);
        let service = Service { udp, endpoint, rounds, timers, outgoing };
        let (table, mail) = (Table::default(), Mail::default());
        Self { all, table, service, mail, has_more: false, ends: None }
    }

    /// Serves until it is told to end.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut received = Received::new();
        while !(self.ends.is_some() && self.table.is_empty()) {
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
        let Service { udp, rounds, timers, .. } = &self.service;
        let mailbox = &rounds.mailbox;
        let left = if !self.table.is_touched() && mailbox.may_rest() {
            let ends = self.ends.as_ref().map(|ends| ends.at);
            let due = [timers.next(), ends].into_iter().flatten().min();
            due.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(udp, PollFlags::IN),
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
        let count = match self.service.udp.receive(received) {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "receiving for QUIC failed");
                return;
            }
        };
        self.has_more = count == RECEIVE_BATCH;
        for run in received.runs(count) {
            for datagram in run.bytes.chunks(run.stride) {
                let another = self.all.another(datagram);
                // In memory of its own: what it carries may wait for long.
                let datagram = BytesMut::from(datagram);
                match another {
                    Some(mailbox) => mailbox.pass_on(run.arrival, datagram),
                    None => self.take(run.arrival, datagram, now),
                }
            }
        }
    }

    fn take(&mut self, arrival: Arrival, datagram: BytesMut, now: Instant) {
        let Arrival { from, local, ecn } = arrival;
        let ecn = ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let Service { udp, endpoint, outgoing, .. } = &mut self.service;
        let mut answer = outgoing.room();
        match endpoint.handle(now, from, local, ecn, datagram, &mut answer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                outgoing.keep(answer);
                self.table.touch(handle);
                self.table.with(handle, &mut self.service, |connection, _| {
                    connection.quic.handle_event(event);
                });
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.greet(incoming, now, answer),
            Some(DatagramEvent::Response(transmit)) => outgoing.add(transmit, answer, udp),
            None => outgoing.keep(answer),
        }
    }

    /// Takes a connection, if there is a place for it.
    fn greet(&mut self, incoming: Incoming, now: Instant, mut answer: Vec<u8>) {
        let Service { udp, endpoint, outgoing, rounds, .. } = &mut self.service;
        let door = &rounds.door;
        if door.is_busy() && incoming.may_retry() {
            // Made-up sources would take the places of true ones. The answer is no longer than the
            // question, and nothing is kept.
            match endpoint.retry(incoming, &mut answer) {
                Ok(transmit) => outgoing.add(transmit, answer, udp),
                Err(refused) => endpoint.ignore(refused.into_incoming()),
            }
            return;
        }
        let place = match self.ends {
            None => door.enter(incoming.remote_address().ip()),
            Some(_) => None,
        };
        let Some(place) = place else {
            // Not even a refusal: nobody knows yet whether the source is true.
            endpoint.ignore(incoming);
            return;
        };
        match endpoint.accept(incoming, now, &mut answer, None) {
            Ok((handle, quic)) => {
                outgoing.keep(answer);
                let connection = Connection::new(handle, quic, place, now + door.time);
                self.table.insert(handle, connection);
            }
            Err(error) => {
                door.failed();
                if let Some(transmit) = error.response {
                    outgoing.add(transmit, answer, udp);
                }
            }
        }
    }

    /// Hears what others say; true if it is over.
    fn heed_mail(&mut self, now: Instant) -> bool {
        let mut mail = mem::take(&mut self.mail);
        self.service.rounds.mailbox.take(&mut mail);
        for (arrival, datagram) in mail.datagrams.drain(..) {
            self.take(arrival, datagram, now);
        }
        for &handle in &mail.ready {
            if let Some(connection) = self.table.touch(handle) {
                connection.ring();
            }
        }
        let end = mail.end();
        self.mail = mail;
        match (end, &mut self.ends) {
            (Some(End::Stop), _) => true,
            (Some(End::At(at)), None) => {
                self.ends = Some(Ends { at, closed: false });
                false
            }
            (_, Some(ends)) if ends.at <= now => {
                ends.at = now + LAST_WORD;
                let was_closed = mem::replace(&mut ends.closed, true);
                if !was_closed {
                    self.table.shut(&mut self.service, now);
                }
                was_closed
            }
            _ => false,
        }
    }

    /// Looks at those for whom it is time.
    fn heed_time(&mut self, now: Instant) {
        while let Some(handle) = self.service.timers.pop(now) {
            let Some(connection) = self.table.get(handle) else { continue };
            connection.armed = None;
            let due = connection.due();
            if due.is_none_or(|due| due > now) {
                self.service.timers.arm(handle, &mut connection.armed, due);
                continue;
            }
            self.table.touch(handle);
            self.table.with(handle, &mut self.service, |connection, _| {
                connection.quic.handle_timeout(now);
            });
        }
    }

    /// Brings what has happened to its end.
    fn settle(&mut self, now: Instant) {
        self.table.heed(&mut self.service, now);
        self.service.rounds.tell();
        // What the hub has given for it leaves in the same round.
        self.heed_mail(now);
        self.table.write(&mut self.service, now);
        self.service.rounds.tell();
        let Service { udp, outgoing, .. } = &mut self.service;
        outgoing.flush(udp);
    }
}
