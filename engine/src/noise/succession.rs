//! A change of keys without a gap: the old sessions serve until the new ones do.

use std::time::Duration;

use super::Tunnel;
use crate::time::Timestamp;

/// No session lives longer (paper, section 6.1).
const LONGEST: Duration = Duration::from_secs(180);
/// How long the old sessions are still listened to when the new one is there: what was sealed by
/// them is under way, and the peer may not know of the new one yet.
const LINGER: Duration = Duration::from_secs(15);

/// The tunnel of the keys before.
pub(super) struct Former {
    pub(super) tunnel: Box<Tunnel>,
    until: Timestamp,
}

impl Tunnel {
    /// Takes the place of a tunnel of other keys with the same peer, whose sessions stay in use until
    /// there is one of its own.
    pub(crate) fn succeed(mut self, mut old: Box<Self>, now: Timestamp) -> Self {
        let older = old.former.take();
        let serving = if old.ready { Some(old) } else { older.map(|former| former.tunnel) };
        self.former = serving.map(|tunnel| Former { tunnel, until: now + LONGEST });
        self
    }

    /// Whether the sessions of the keys before are all there is.
    pub(crate) fn needs_own_session(&self) -> bool {
        !self.ready && self.former.is_some()
    }

    /// Lets time pass for the former tunnel, which asks for nothing any more.
    pub(super) fn tick_former(&mut self, scratch: &mut [u8], now: Timestamp) {
        let Some(former) = &mut self.former else { return };
        former.tunnel.tick(scratch, now);
        if self.ready {
            former.until = former.until.min(now + LINGER);
        }
        if former.until <= now || !former.tunnel.ready {
            self.former = None;
        }
    }
}
