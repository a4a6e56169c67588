//! One node's stream.

use std::sync::Arc;
use std::time::Duration;

use proto::control::{ALIVE_EVERY, EndReason, Frame, NodeId, Peer};
use proto::ticket::UnixSeconds;

use super::Hub;
use super::room::{Room, Seat};
use crate::clock::now;
use crate::store::StoreError;

/// How long a node may be without a stream before it counts as gone.
const GRACE: Duration = Duration::from_secs(5);

/// See the module. Dropping it ends the stream.
pub struct Listener {
    hub: Hub,
    room: Arc<Room>,
    id: NodeId,
    seat: Arc<Seat>,
    ended: bool,
}

impl Listener {
    pub(super) async fn begin(
        hub: Hub,
        room: Arc<Room>,
        id: NodeId,
        after: Option<u64>,
    ) -> Result<Self, StoreError> {
        let seat = room.enter(id, after);
        let listener = Self { hub, room, id, seat, ended: false };
        // Dropped, it gives its place back, also if this fails.
        let (network, hub) = (listener.room.network(), &listener.hub);
        hub.0.store.connect_node(network, id, hub.instance(), now()).await?;
        Ok(listener)
    }

    /// Waits for the next line, with its end; nothing after the last one. `until` is the end of the
    /// session.
    pub async fn next(&mut self, until: UnixSeconds) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut draining = self.hub.0.draining.subscribe();
        loop {
            if self.seat.is_closed() {
                return Some(self.end(EndReason::Replaced));
            }
            if *draining.borrow() {
                return Some(self.end(EndReason::Draining));
            }
            let now = now();
            if until <= now {
                return Some(self.end(EndReason::Session));
            }
            match self.room.line(self.id, &self.seat, &self.hub.ticket_keys(), now) {
                Ok(Some(line)) => {
                    self.ended = line.starts_with(br#"{"end":"#);
                    return Some(with_end(line));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, node = %self.id, "a stream ends");
                    return Some(self.end(EndReason::Other));
                }
            }
            let left = Duration::from_secs(until.0.saturating_sub(now.0));
            tokio::select! {
                () = self.seat.woken() => {}
                // A closed channel is a hub that is gone, and nothing more comes.
                _ = draining.changed() => {}
                () = tokio::time::sleep(ALIVE_EVERY.min(left)) => {
                    return Some(b"{}\n".to_vec());
                }
            }
        }
    }

    fn end(&mut self, reason: EndReason) -> Vec<u8> {
        self.ended = true;
        let frame: Frame<Peer> = Frame::end(reason);
        // It has no part that could fail.
        with_end(serde_json::to_vec(&frame).unwrap_or_default())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.room.leave(self.id, &self.seat, now()) {
            return;
        }
        let (hub, room, id) = (self.hub.clone(), self.room.clone(), self.id);
        // Outside of a runtime the process ends, and others find its nodes orphaned.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(GRACE).await;
            if room.is_here(id) {
                return;
            }
            let instance = hub.instance();
            let store = &hub.0.store;
            match store.disconnect_node(room.network(), id, instance, now()).await {
                // Deleted meanwhile, with or without its network.
                Ok(()) | Err(StoreError::Missing(_)) => {}
                Err(error) => tracing::warn!(%error, node = %id, "it stays online for now"),
            }
        });
    }
}

fn with_end(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}
