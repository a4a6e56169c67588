//! The connections of a shard, and what they are served with.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use quinn_proto::{ConnectionHandle, Endpoint, EndpointEvent};

use super::connection::{Connection, Rounds};
use super::outgoing::Outgoing;
use super::timers::Timers;
use crate::server::udp::Udp;

/// What serves connections.
pub(super) struct Service {
    pub(super) udp: Udp,
    pub(super) endpoint: Endpoint,
    pub(super) rounds: Rounds,
    pub(super) timers: Timers,
    pub(super) outgoing: Outgoing,
}

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    /// By their handles.
    all: Vec<Option<Box<Connection>>>,
    open: usize,
    /// Those that a round has to do with.
    touched: Vec<ConnectionHandle>,
}

/// What there is to do with a connection after a round.
enum After {
    Rest,
    /// It takes another.
    More,
    /// Nothing is left of it.
    Nothing,
}

impl Table {
    pub(super) const fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether the next round has something to do.
    pub(super) const fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    pub(super) fn insert(&mut self, handle: ConnectionHandle, connection: Connection) {
        if self.all.len() <= handle.0 {
            self.all.resize_with(handle.0 + 1, || None);
        }
        self.all[handle.0] = Some(Box::new(connection));
        self.open += 1;
        self.touch(handle);
    }

    pub(super) fn get(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        self.all.get_mut(handle.0)?.as_deref_mut()
    }

    /// This round, or the next, has to do with it.
    pub(super) fn touch(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        let connection = self.all.get_mut(handle.0)?.as_deref_mut()?;
        if !mem::replace(&mut connection.touched, true) {
            self.touched.push(handle);
        }
        Some(connection)
    }

    /// Ends all.
    pub(super) fn shut(&mut self, service: &mut Service, now: Instant) {
        for handle in (0..self.all.len()).map(ConnectionHandle) {
            self.touch(handle);
            self.with(handle, service, |connection, service| {
                connection.shut(&mut service.rounds, now);
            });
        }
    }

    /// Has those that are touched take what has happened to them.
    pub(super) fn heed(&mut self, service: &mut Service, now: Instant) {
        for at in 0..self.touched.len() {
            self.with(self.touched[at], service, |connection, service| {
                connection.heed(&mut service.rounds, now);
            });
        }
    }

    /// Has those that are touched write what there is for them, and send what they have to send.
    pub(super) fn write(&mut self, service: &mut Service, now: Instant) {
        for handle in mem::take(&mut self.touched) {
            let after = self.with(handle, service, |connection, service| {
                connection.touched = false;
                write(handle, connection, service, now)
            });
            match after {
                Some(After::More) => drop(self.touch(handle)),
                Some(After::Nothing) => self.forget(handle, service),
                Some(After::Rest) | None => {}
            }
        }
    }

    /// Does something with a connection, if it is there. A defect that one connection brings to light ends
    /// that one, not all.
    pub(super) fn with<T>(
        &mut self,
        handle: ConnectionHandle,
        service: &mut Service,
        work: impl FnOnce(&mut Connection, &mut Service) -> T,
    ) -> Option<T> {
        let connection = self.get(handle)?;
        let done = catch_unwind(AssertUnwindSafe(|| work(connection, service)));
        if done.is_err() {
            tracing::error!("a connection of QUIC is ended for a defect");
            connection.has_left(&mut service.rounds.to_hub);
            service.endpoint.handle_event(handle, EndpointEvent::drained());
            self.forget(handle, service);
        }
        done.ok()
    }

    fn forget(&mut self, handle: ConnectionHandle, service: &mut Service) {
        if let Some(mut connection) = self.all.get_mut(handle.0).and_then(Option::take) {
            service.timers.forget(handle, &mut connection.armed);
            self.open -= 1;
        }
    }
}

fn write(
    handle: ConnectionHandle,
    connection: &mut Connection,
    service: &mut Service,
    now: Instant,
) -> After {
    let Service { udp, endpoint, rounds, timers, outgoing } = service;
    connection.write(rounds, now);
    let mut drained = false;
    while let Some(event) = connection.quic.poll_endpoint_events() {
        drained |= event.is_drained();
        if let Some(answer) = endpoint.handle_event(handle, event) {
            connection.quic.handle_event(answer);
        }
    }
    if drained {
        return After::Nothing;
    }
    let has_more = outgoing.take(&mut connection.quic, now, udp);
    // What has left has made room.
    let heeded = connection.heed(rounds, now);
    let due = connection.due();
    timers.arm(handle, &mut connection.armed, due);
    if has_more || heeded { After::More } else { After::Rest }
}
