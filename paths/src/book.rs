//! Pings that are out. A pong counts only if it answers one of them, on the way that it took.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine::Timestamp;
use proto::probe::PingId;

use crate::route::Route;

/// Pings that wait at most; what comes on top pushes out the oldest. A search of a hard NAT's ports
/// has the most.
const MOST: usize = 1536;
/// How long an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    out: BTreeMap<PingId, (Route, Timestamp)>,
    order: VecDeque<PingId>,
}

impl Book {
    pub(crate) fn add(&mut self, id: PingId, route: Route, now: Timestamp) {
        while self.order.len() >= MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.out.remove(&oldest);
            }
        }
        self.out.insert(id, (route, now));
        self.order.push_back(id);
    }

    /// The way of a ping, and when it left; it is answered once.
    pub(crate) fn answered(&mut self, id: PingId) -> Option<(Route, Timestamp)> {
        self.out.remove(&id)
    }

    /// Lets go of those that waited too long.
    pub(crate) fn expire(&mut self, now: Timestamp, mut lost: impl FnMut(Route, Timestamp)) {
        while let Some(&oldest) = self.order.front() {
            match self.out.get(&oldest) {
                Some(&(_, at)) if now - at < PATIENCE => return,
                Some(&(route, at)) => lost(route, at),
                None => {}
            }
            self.out.remove(&oldest);
            self.order.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
