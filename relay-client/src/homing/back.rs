//! Going back to a better relay, when there is one again: seldom, one at a time, and later each time
//! that it did not last.

use std::time::Instant;

use super::connection::Connection;
use super::timeouts::PATIENCE;
use super::{Action, Homing, RelayIndex};

impl Homing {
    /// When to try a better relay than our home, and which.
    pub(super) fn back(&self) -> Option<(RelayIndex, Instant)> {
        let home = self.connections.iter().find(|c| Some(c.id) == self.home)?;
        // One that ends is left anyway, and two tries at one time would be in each other's way.
        if home.ends.is_some() || self.connections.iter().any(|c| !c.is_admitted()) {
            return None;
        }
        let used: Vec<_> = self.connections.iter().map(|connection| connection.relay).collect();
        let spread = f64::from(self.random) / f64::from(u32::MAX);
        let better = self.relays.better(home.relay, home.since, spread, &used);
        better.min_by_key(|(relay, at)| (*at, *relay))
    }

    /// Tries a better relay, if it is time. The home stays one until that has admitted us.
    pub(super) fn go_back(&mut self, now: Instant) {
        if let Some((relay, _)) = self.back().filter(|(_, at)| *at <= now) {
            let id = self.next_id();
            self.connections.push(Connection::new(id, relay, now + PATIENCE, now));
            self.actions.push_back(Action::Connect(id, relay));
        }
    }

    /// Whether this relay is better than the one at which we are at home.
    pub(super) fn is_better(&self, relay: RelayIndex) -> bool {
        self.connections.iter().any(|c| Some(c.id) == self.home && relay < c.relay)
    }
}
