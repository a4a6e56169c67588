//! boringtun's noise layer, and what it lacks. The only place that names it.
//!
//! Added here: time as an argument (boringtun is built with its settable clock, which each call
//! sets first), the message limits of a session, a lower bound between handshakes of one peer, and
//! word of which sessions are usable, so that the queue of waiting packets can be ours and bounded.
//!
//! The replay window is boringtun's, 1024 messages wide. It suffices: a peer seals in the order in
//! which it sends, and all of a tunnel's datagrams are one UDP flow, which routers keep on one
//! path; what reorders is a batch (64 datagrams at most, section 3.2 of the design) against its
//! neighbours, or a change of path, where 1024 full datagrams are 1.2 ms of 10 Gbit/s. A message
//! beyond the window is refused, never accepted twice.

mod gate;
mod identity;
mod succession;
mod wear;

use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use dataplane_common::DropReason;
use mock_instant::MockClock;
use proto::key::{PresharedKey, PublicKey};
use proto::message::{DATA_OVERHEAD, INITIATION_LEN, Message, SessionIndex};

pub(crate) use gate::{Admission, Gate};
pub(crate) use identity::Identity;
pub use identity::public_key;
use succession::Former;
use wear::{REJECT_AFTER_MESSAGES, Wear, counter, wear};

use crate::time::Timestamp;

/// The smallest buffer for a message that we write ourselves: a handshake initiation.
pub(crate) const MESSAGE_ROOM: usize = INITIATION_LEN;

/// boringtun's timers advance in steps of this while a peer is busy.
const TICK: Duration = Duration::from_millis(250);
/// The shortest time between two initiations that a peer is answered (Linux: `1s / 50`).
const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// One peer's handshake and sessions.
pub(crate) struct Tunnel {
    tunn: Tunn,
    /// There is a session to send on, and the peer is known to have it too.
    ready: bool,
    /// There are keys in memory that time must wipe.
    alive: bool,
    /// The session that we last learnt to be usable.
    current: Option<SessionIndex>,
    /// The moment up to which boringtun's timers have been told.
    updated: Timestamp,
    /// When the initiation that awaits its response was sent.
    initiated: Option<Timestamp>,
    /// When the last initiation of the peer was answered.
    answered: Option<Timestamp>,
    /// A session that the peer asked for and has not used yet.
    unconfirmed: Option<SessionIndex>,
    /// The session should be replaced for the number of its messages.
    worn: bool,
    /// Serves while keys change.
    former: Option<Former>,
}

/// An authentic data message.
pub(crate) struct Opened {
    /// The length of the packet inside; none if the message was a keepalive.
    pub(crate) packet: Option<usize>,
    /// It is the first on a session that the peer asked for: the handshake is complete.
    pub(crate) confirms: bool,
}

/// What the passing of time brought about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Nothing to send.
    Nothing,
    /// A message of this length is to be sent: an initiation or a keepalive.
    Send(usize),
    /// Sessions and keys are gone, and no handshake is under way. If one was, it is given up.
    Expired,
}

impl Tunnel {
    /// `index` is the first session index of this tunnel; boringtun counts on in its lowest byte.
    pub(crate) fn new(
        identity: &Identity,
        peer: PublicKey,
        preshared: Option<&PresharedKey>,
        index: SessionIndex,
        now: Timestamp,
    ) -> Self {
        set_clock(now);
        let tunn = Tunn::new(
            identity.secret.clone(),
            x25519::PublicKey::from(*peer.as_bytes()),
            preshared.map(|key| *key.as_bytes()),
            None,
            index.0 >> 8,
            Some(Arc::clone(&identity.unlimited)),
        );
        Self {
            tunn,
            ready: false,
            alive: false,
            current: None,
            updated: now,
            initiated: None,
            answered: None,
            unconfirmed: None,
            worn: false,
            former: None,
        }
    }

    /// Whether a packet can be sealed now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready || self.former.is_some()
    }

    /// Whether there are keys in memory that time must wipe.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive || self.former.is_some()
    }

    /// When the initiation that awaits its response was sent.
    pub(crate) fn initiated(&self) -> Option<Timestamp> {
        self.initiated
    }

    /// Whether boringtun's timers lag and [`Self::tick`] is due before anything else.
    pub(crate) fn lags(&self, now: Timestamp) -> bool {
        now - self.updated >= TICK
    }

    /// Seals a packet (a keepalive, if it is empty) into `dst`, which is [`DATA_OVERHEAD`] longer
    /// than the packet and at least [`MESSAGE_ROOM`]. Only for a tunnel that is ready.
    pub(crate) fn seal(&mut self, packet: &[u8], dst: &mut [u8]) -> Result<usize, DropReason> {
        if !self.ready
            && let Some(former) = &mut self.former
        {
            return former.tunnel.seal(packet, dst);
        }
        // The timers of boringtun stand at the last tick: nothing here reads the clock.
        let TunnResult::WriteToNetwork(message) = self.tunn.encapsulate(packet, dst) else {
            return Err(DropReason::HandshakeRejected);
        };
        match wear(counter(message)) {
            Wear::Fresh => {}
            Wear::Worn => self.worn = true,
            Wear::Out => return Err(DropReason::MessageLimit),
        }
        Ok(message.len())
    }

    /// Opens a data message into `dst`, which is as long as the message.
    pub(crate) fn open(
        &mut self,
        receiver: SessionIndex,
        counter: u64,
        message: &[u8],
        dst: &mut [u8],
    ) -> Result<Opened, DropReason> {
        match (self.open_own(receiver, counter, message, dst), &mut self.former) {
            (Err(_), Some(former)) => former.tunnel.open(receiver, counter, message, dst),
            (opened, _) => opened,
        }
    }

    fn open_own(
        &mut self,
        receiver: SessionIndex,
        counter: u64,
        message: &[u8],
        dst: &mut [u8],
    ) -> Result<Opened, DropReason> {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::MessageLimit);
        }
        let packet = match self.tunn.decapsulate(None, message, dst) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Some(packet.len())
            }
            TunnResult::Done => None,
            TunnResult::Err(error) => return Err(data_error(&error)),
            TunnResult::WriteToNetwork(_) => return Err(DropReason::HandshakeRejected),
        };
        let confirms = self.unconfirmed.take_if(|index| *index == receiver).is_some();
        self.current = Some(receiver);
        self.ready = true;
        Ok(Opened { packet, confirms })
    }

    /// Writes an initiation, unless one is under way.
    pub(crate) fn initiate(&mut self, dst: &mut [u8], now: Timestamp) -> Option<usize> {
        self.write_initiation(dst, false, now)
    }

    /// Writes an initiation, even if one is under way, whose answer still counts.
    pub(crate) fn initiate_again(&mut self, dst: &mut [u8], now: Timestamp) -> Option<usize> {
        self.write_initiation(dst, true, now)
    }

    fn write_initiation(&mut self, dst: &mut [u8], again: bool, now: Timestamp) -> Option<usize> {
        set_clock(now);
        match self.tunn.format_handshake_initiation(dst, again) {
            TunnResult::WriteToNetwork(message) => {
                self.initiated = Some(now);
                self.worn = false;
                self.alive = true;
                Some(message.len())
            }
            _ => None,
        }
    }

    /// Whether the session has carried so many messages that a new one is due.
    pub(crate) fn is_worn(&self) -> bool {
        self.worn || self.needs_own_session()
    }

    /// Answers an initiation of this peer; the response is written to `dst`.
    pub(crate) fn answer(
        &mut self,
        message: &[u8],
        dst: &mut [u8],
        now: Timestamp,
    ) -> Result<usize, DropReason> {
        if self.answered.is_some_and(|last| now - last < INITIATION_INTERVAL) {
            return Err(DropReason::HandshakeRejected);
        }
        set_clock(now);
        match self.tunn.decapsulate(None, message, dst) {
            TunnResult::WriteToNetwork(response) => {
                self.answered = Some(now);
                self.alive = true;
                self.unconfirmed = match Message::parse(response) {
                    Some(Message::Response { sender, .. }) => Some(sender),
                    _ => None,
                };
                // The new session took the old one's place: nothing to send on until the peer
                // shows that it has it.
                if self.current.map(ring_place) == self.unconfirmed.map(ring_place) {
                    self.ready = false;
                }
                Ok(response.len())
            }
            _ => Err(DropReason::HandshakeRejected),
        }
    }

    /// Takes the response to our initiation; the session's first keepalive is written to `dst`.
    pub(crate) fn conclude(
        &mut self,
        receiver: SessionIndex,
        message: &[u8],
        dst: &mut [u8],
        now: Timestamp,
    ) -> Result<usize, DropReason> {
        set_clock(now);
        match self.tunn.decapsulate(None, message, dst) {
            TunnResult::WriteToNetwork(keepalive) => {
                self.initiated = None;
                self.current = Some(receiver);
                self.ready = true;
                Ok(keepalive.len())
            }
            _ => Err(DropReason::HandshakeRejected),
        }
    }

    /// Takes a cookie: the next initiation carries it.
    pub(crate) fn take_cookie(
        &mut self,
        message: &[u8],
        dst: &mut [u8],
        now: Timestamp,
    ) -> Result<(), DropReason> {
        set_clock(now);
        match self.tunn.decapsulate(None, message, dst) {
            TunnResult::Done => Ok(()),
            _ => Err(DropReason::HandshakeRejected),
        }
    }

    /// Lets boringtun's timers pass: retries, rekeys, keepalives, expiry of sessions.
    pub(crate) fn tick(&mut self, dst: &mut [u8], now: Timestamp) -> Tick {
        self.tick_former(dst, now);
        set_clock(now);
        self.updated = now;
        let tick = match self.tunn.update_timers(dst) {
            TunnResult::WriteToNetwork(message) => {
                if message.len() == INITIATION_LEN {
                    self.initiated = Some(now);
                }
                Tick::Send(message.len())
            }
            TunnResult::Err(_) => {
                self.initiated = None;
                self.unconfirmed = None;
                self.alive = false;
                Tick::Expired
            }
            _ => Tick::Nothing,
        };
        // Only the tick ends sessions; boringtun says whether its current one still is one.
        self.ready &= self.tunn.time_since_last_handshake().is_some();
        tick
    }
}

/// boringtun keeps a tunnel's sessions in a ring of eight, by index.
const fn ring_place(index: SessionIndex) -> u32 {
    index.0 % 8
}

/// Gives boringtun's clock, which is this thread's own, the time that we were told.
fn set_clock(now: Timestamp) {
    MockClock::set_time(now.since_epoch());
}

fn data_error(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::Replayed,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => DropReason::UnknownIndex,
        // The outside was parsed before: what is invalid is the packet inside.
        WireGuardError::InvalidPacket => DropReason::InnerNotIp,
        _ => DropReason::BadTag,
    }
}

/// The room that a packet of `len` bytes needs once sealed.
pub(crate) fn sealed_room(len: usize) -> usize {
    (len + DATA_OVERHEAD).max(MESSAGE_ROOM)
}

#[cfg(test)]
mod tests {
    use proto::key::PrivateKey;

    use super::*;

    #[test]
    fn a_counter_beyond_the_limit_is_refused_unread() {
        let now = Timestamp::default();
        let identity = Identity::new(&PrivateKey::from([7; 32]), now);
        let mut tunnel =
            Tunnel::new(&identity, identity.public_key(), None, SessionIndex(0x100), now);
        let mut dst = [0; 64];
        let opened = tunnel.open(SessionIndex(0x101), u64::MAX, &[0; 64], &mut dst);
        assert!(matches!(opened, Err(DropReason::MessageLimit)));
    }
}
