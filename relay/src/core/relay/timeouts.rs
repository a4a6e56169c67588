//! What time brings: silence, expiry, and the end of a relay that is going away.

use std::time::{Duration, Instant};

use proto::relay::{Refusal, RelayFrame};

use super::Relay;
use crate::core::Now;
use crate::core::output::{Command, Output};
use crate::core::slab::Index;
use crate::core::timers::Due;

/// How long the lanes of a node outlive its connection.
const ABSENCE: Duration = Duration::from_secs(30);

impl Relay {
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Output) {
        while let Some(due) = self.timers.pop(now.at) {
            match due {
                Due::Node(index) => self.look_at_node(index, now, out),
                Due::Queue(index) => self.look_at_queue(index, now.at),
                Due::Lane(index) => self.look_at_lane(index, now.at, out),
                Due::Beat => self.beat(now.at, out),
                Due::End => self.end(now.at, out),
            }
        }
    }

    fn look_at_node(&mut self, index: Index, now: Now, out: &mut Output) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        if node.armed > now.at {
            return;
        }
        if let Some(connection) = &mut node.connection {
            connection.queue.rest();
        }
        let expired = node.until <= now.wall;
        let absent = node.connection.is_none() && node.absent_since + ABSENCE <= now.at;
        let silence = node.connection.as_ref().map(|c| now.at.saturating_duration_since(c.heard));
        let why = if expired { Refusal::ExpiredTicket } else { Refusal::TimedOut };
        if expired || silence.is_some_and(|silence| silence >= self.settings.idle) {
            self.end_connection(index, Some(why), now.at, out);
        } else if silence.is_some_and(|silence| silence >= self.settings.idle / 3) {
            self.tell(index, RelayFrame::Ping(0), now.at, out);
        }
        if expired || absent {
            self.close_lanes_of(index, now.at, out);
        }
        self.forget_if_unused(index);
        self.arm_node(index, now);
    }

    /// Sets when a node is looked at next.
    pub(super) fn arm_node(&mut self, index: Index, now: Now) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let left = Duration::from_secs(node.until.0.saturating_sub(now.wall.0));
        // Wall seconds are whole: at the first try it may not be over yet.
        let left = left.max(Duration::from_millis(100));
        let next = now.at + left.min(self.settings.idle / 3);
        // An earlier entry looks at the node and sets the next; a later one finds it done.
        if node.armed <= now.at || next < node.armed {
            node.armed = next;
            self.timers.set(next, Due::Node(index));
        }
    }

    pub(super) fn close_lanes_of(&mut self, index: Index, now: Instant, out: &mut Output) {
        let lanes = self.nodes.get(index).map(|node| node.lanes.values().copied().collect());
        let lanes: Vec<Index> = lanes.unwrap_or_default();
        for lane in lanes {
            self.close_lane(lane, now, out);
        }
    }

    fn end(&mut self, now: Instant, out: &mut Output) {
        let nodes: Vec<Index> = self.nodes.iter().map(|(index, _)| index).collect();
        for node in nodes {
            self.end_connection(node, Some(Refusal::Draining), now, out);
        }
        out.commands.push(Command::End);
    }
}
