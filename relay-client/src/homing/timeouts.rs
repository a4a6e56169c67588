//! What time brings: tries that take too long, questions, and the search for a home.

use std::time::{Duration, Instant};

use super::connection::{Connection, Liveness};
use super::{Action, Homing};

/// How long to wait for a connection before another relay is tried beside it: at leisure, because the
/// best is worth it, and in a hurry, because there is no home any more.
const LEISURE: Duration = Duration::from_secs(1);
pub(super) const HURRY: Duration = Duration::from_millis(200);
/// How long a region may take to serve for the first time: where UDP is blocked, TLS comes after two seconds.
pub(super) const FIRST: Duration = Duration::from_secs(3);
/// How long a connection may take to be admitted.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are being made at one time.
const TRIES: usize = 3;

impl Homing {
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.connections.iter().filter_map(|connection| {
            let beat = (Some(connection.id) == self.home).then(|| connection.liveness.due());
            [connection.deadline(), connection.close, beat].into_iter().flatten().min()
        });
        connections.chain(self.look).chain(self.back().map(|(_, at)| at)).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let over: Vec<_> = self
            .connections
            .iter()
            .filter(|connection| connection.is_over(now))
            .map(|connection| (connection.id, connection.relay, connection.close.is_some()))
            .collect();
        for (id, relay, meant) in over {
            self.close(id);
            if !meant {
                self.relays.fails(relay, now);
                self.look = Some(now);
            }
        }
        self.beat(now);
        if self.look.is_some_and(|at| at <= now) {
            self.look_for_home(now);
        }
        self.go_back(now);
    }

    /// Asks the home whether it is there, and gives it up if it is silent.
    fn beat(&mut self, now: Instant) {
        let Some(home) = self.home else { return };
        let Some(connection) = self.find(home) else { return };
        match connection.liveness.beat(now) {
            Liveness::Fine => {}
            Liveness::Ask(number) => self.actions.push_back(Action::Ping(home, number)),
            Liveness::Dead => {
                let (relay, since) = (connection.relay, connection.since);
                self.relays.fails(relay, now);
                self.relays.lost(relay, now.saturating_duration_since(since));
                self.close(home);
                self.lose_home(now);
                self.look = Some(now);
            }
        }
    }

    /// Tries one more relay, and looks again when that takes long.
    fn look_for_home(&mut self, now: Instant) {
        self.look = None;
        if !self.needs_home() {
            return;
        }
        let wait = now + if self.lost { HURRY } else { LEISURE };
        let trying = self.connections.iter().filter(|c| !c.is_admitted()).count();
        let used: Vec<_> = self.connections.iter().map(|connection| connection.relay).collect();
        match self.relays.best(&used, now) {
            Ok(relay) if trying < TRIES => {
                let id = self.next_id();
                self.connections.push(Connection::new(id, relay, now + PATIENCE, now));
                self.actions.push_back(Action::Connect(id, relay));
                self.look = Some(wait);
            }
            Ok(_) => self.look = Some(wait),
            Err(next) => self.look = next.map(|at| at.max(now + HURRY)),
        }
    }
}
