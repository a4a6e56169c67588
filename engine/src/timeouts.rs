//! Timers: each peer has one moment at which it wants to be looked at, kept in one heap.
//!
//! A busy peer is looked at once a second, one with idle sessions every ten, one without keys
//! never; a handshake under way when it is to be retried, a persistent keepalive when it is due.

use std::cmp::Reverse;
use std::mem;
use std::time::Duration;

use dataplane_common::{DropReason, Slot};
use rand::Rng as _;

use crate::ecn::Ecn;
use crate::node::Engine;
use crate::noise::{MESSAGE_ROOM, Tick};
use crate::output::Output;
use crate::peer::{Peer, Wake};
use crate::time::Timestamp;

/// A packet that nothing of ours follows is acknowledged after this (paper, section 6.5).
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a busy peer's timers are looked at.
const BUSY: Duration = Duration::from_secs(1);
/// How often the timers of a peer with idle sessions are looked at.
const IDLE: Duration = Duration::from_secs(10);
/// After this long without traffic no timer of the protocol that is finer than [`IDLE`] runs: the
/// longest is `KEEPALIVE_TIMEOUT + REKEY_TIMEOUT`, 15 s.
const CALM_AFTER: Duration = Duration::from_secs(17);
/// An unanswered initiation is sent again after this and up to [`RETRY_JITTER_MS`] more.
const RETRY: Duration = Duration::from_secs(5);
/// Handshakes, and as many initiations, that are computed before packets get their turn: each
/// costs some hundred microseconds.
const COSTLY: usize = 2;
/// Keeps two nodes that start together from asking each other for ever (paper, section 6.1).
const RETRY_JITTER_MS: u64 = 333;

impl Engine {
    /// When [`Self::handle_timeout`] is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        if !self.handshakes.is_empty() {
            return Some((Timestamp::default(), "a handshake to compute"));
        }
        let &Reverse((at, id)) = self.wakes.peek()?;
        let peer = self.peers.get(id.0 as usize).and_then(Option::as_ref);
        match peer.and_then(|peer| peer.wake) {
            Some(wake) if wake.at == at => Some((at, wake.reason)),
            _ => Some((at, "an outdated timer")),
        }
    }

    /// Lets time pass: retries, rekeys, keepalives, expiry; and computes handshakes that were put
    /// off. It ends after a little costly work, so that packets never wait long for it: more may
    /// be due, as [`Self::poll_timeout`] then says.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Output) {
        for _ in 0..COSTLY {
            let Some((from, message)) = self.handshakes.pop_front() else { break };
            self.take_put_off(from, &message, now, out);
        }
        let mut costly = 0;
        while let Some(&Reverse((at, id))) = self.wakes.peek() {
            if at > now || costly == COSTLY {
                return;
            }
            self.wakes.pop();
            let Some(peer) = self.peer_mut(id) else { continue };
            if peer.wake.take_if(|wake| wake.at == at).is_some() {
                let initiated = peer.initiated();
                self.look_after(id, now, out);
                let began = self.peer_mut(id).is_some_and(|peer| peer.initiated() != initiated);
                costly += usize::from(began);
            }
        }
    }

    /// Looks after a peer whose timers lag behind, before it sends or receives.
    pub(crate) fn catch_up(&mut self, id: Slot, now: Timestamp, out: &mut Output) {
        let lags = |peer: &mut Peer| peer.tunnel.as_ref().is_some_and(|tunnel| tunnel.lags(now));
        if self.peer_mut(id).is_some_and(lags) {
            self.look_after(id, now, out);
        }
    }

    /// Makes sure that a peer with traffic is looked at soon.
    pub(crate) fn stay_awake(&mut self, id: Slot, now: Timestamp) {
        self.wake(id, Wake { at: now + BUSY, reason: "a busy peer's timers" });
    }

    /// Looks after a peer, and plans when to do so again.
    pub(crate) fn look_after(&mut self, id: Slot, now: Timestamp, out: &mut Output) {
        if !self.up {
            return;
        }
        let jitter = Duration::from_millis(self.rng.random_range(0..=RETRY_JITTER_MS));
        let Some(peer) = self.peer_mut(id) else { return };
        let given_up = peer.tick(now, out);
        if mem::take(&mut peer.ask) {
            peer.initiate(now, &mut out.transmits);
        }
        let greet = mem::take(&mut peer.greet);
        if greet || peer.keepalive_due().is_some_and(|due| due <= now) {
            peer.keep_alive(now, &mut out.transmits);
        }
        let next = peer.next_wake(now, jitter);
        self.drops.add(DropReason::HandshakeTimeout, given_up);
        if let Some(wake) = next {
            self.wake(id, wake);
        }
    }

    pub(crate) fn wake(&mut self, id: Slot, wake: Wake) {
        let Some(peer) = self.peer_mut(id) else { return };
        if peer.wake.is_some_and(|planned| planned.at <= wake.at) {
            return;
        }
        peer.wake = Some(wake);
        self.wakes.push(Reverse((wake.at, id)));
    }
}

impl Peer {
    /// When the initiation that awaits its response was sent.
    fn initiated(&self) -> Option<Timestamp> {
        self.tunnel.as_ref().and_then(|tunnel| tunnel.initiated())
    }

    /// Lets the tunnel's timers pass; gives how many packets waited in vain.
    fn tick(&mut self, now: Timestamp, out: &mut Output) -> u64 {
        let Some(tunnel) = self.tunnel.as_mut() else { return 0 };
        match tunnel.tick(out.transmits.slot(MESSAGE_ROOM), now) {
            Tick::Nothing => {}
            Tick::Send(len) => {
                if let Some(to) = self.endpoint {
                    out.transmits.commit(to, Ecn::NotCapable, len);
                    self.tx_bytes += len as u64;
                }
            }
            Tick::Expired => {
                let waiting = self.queue.len() as u64;
                self.queue.clear();
                self.acknowledge_at = None;
                return waiting;
            }
        }
        0
    }

    /// When a keepalive is due: the persistent one, which any traffic puts off, or the one that
    /// acknowledges.
    fn keepalive_due(&self) -> Option<Timestamp> {
        let reachable = self.endpoint.is_some() && self.tunnel.is_some();
        let interval = Duration::from_secs(self.persistent_keepalive.into());
        let persistent = (!interval.is_zero()).then(|| self.last_traffic + interval);
        [persistent, self.acknowledge_at].into_iter().flatten().min().filter(|_| reachable)
    }

    fn next_wake(&self, now: Timestamp, jitter: Duration) -> Option<Wake> {
        let tunnel = self.tunnel.as_ref()?;
        let retry = tunnel.initiated().map(|sent| Wake {
            at: (sent + RETRY + jitter).max(now + jitter),
            reason: "a handshake's retry",
        });
        let step = if now - self.last_traffic < CALM_AFTER { BUSY } else { IDLE };
        let alive = tunnel
            .is_alive()
            .then(|| Wake { at: now + step, reason: "the timers of a peer with keys" });
        let keepalive =
            self.keepalive_due().map(|due| Wake { at: due.max(now + BUSY), reason: "a keepalive" });
        [retry, alive, keepalive].into_iter().flatten().min_by_key(|wake| wake.at)
    }
}
