//! Handshake messages: let in or not at once, computed when packets have had their turn.

use dataplane_common::{DropReason, Slot};
use proto::key::PublicKey;
use proto::message::{COOKIE_REPLY_LEN, Message, SessionIndex};

use crate::ecn::Ecn;
use crate::handover::What;
use crate::node::Engine;
use crate::noise::{Admission, MESSAGE_ROOM};
use crate::output::{Endpoint, Output};
use crate::time::Timestamp;

/// Handshake messages that wait to be computed (Linux: 4096).
const WAITING_LIMIT: usize = 1024;

impl Engine {
    /// Lets a message that was let in wait for [`Self::handle_timeout`].
    pub(crate) fn put_off(&mut self, from: Endpoint, message: Box<[u8]>) {
        if self.handshakes.len() < WAITING_LIMIT {
            self.handshakes.push_back((from, message));
        } else {
            self.drops.count(DropReason::UnderLoad);
        }
    }

    pub(crate) fn take_put_off(
        &mut self,
        from: Endpoint,
        message: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) {
        let handled = match Message::parse(message) {
            Some(Message::Initiation { .. }) => self.take_initiation(from, message, now, out),
            Some(Message::Response { receiver, .. }) => {
                self.take_response(from, receiver, message, now, out)
            }
            _ => Ok(()),
        };
        if let Err(reason) = handled {
            self.drops.count(reason);
        }
    }

    fn take_initiation(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let key = self.key.as_ref().ok_or(DropReason::BadMac1)?;
        let initiator = key.identity.initiator(datagram).ok_or(DropReason::HandshakeRejected)?;
        let id = *self.by_key.get(&initiator).ok_or(DropReason::UnknownPeer)?;
        if let Some(owner) = self.place.other_owner(id) {
            let what = What::Initiation { from, bytes: datagram.into() };
            self.hand_over(owner, what, out);
            return Ok(());
        }
        self.catch_up(id, now, out);

        let len = self.answer(id, &initiator, datagram, out.transmits.slot(MESSAGE_ROOM), now)?;
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownPeer)?;
        tracing::debug!(peer = %peer.public_key, from = %from.address, "handshake answered");
        out.transmits.commit(from, Ecn::NotCapable, len);
        peer.tx_bytes += len as u64;
        peer.rx_bytes += datagram.len() as u64;
        // An initiation can be replayed to a node that was restarted, so it moves no endpoint; the
        // first message on the session that it asks for does.
        peer.endpoint.get_or_insert(from);
        self.stay_awake(id, now);
        Ok(())
    }

    /// Answers an initiation by the peer's key, or by its next one: then that is its key now.
    fn answer(
        &mut self,
        id: Slot,
        initiator: &PublicKey,
        datagram: &[u8],
        dst: &mut [u8],
        now: Timestamp,
    ) -> Result<usize, DropReason> {
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownPeer)?;
        if *initiator == peer.public_key {
            let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownPeer)?;
            return tunnel.answer(datagram, dst, now);
        }
        if peer.next_key != Some(*initiator) {
            return Err(DropReason::UnknownPeer);
        }
        let mut next = self.tunnel_for(id, *initiator, now).ok_or(DropReason::UnknownPeer)?;
        // Only the answer proves that it is not somebody who only knows the next key.
        let len = next.answer(datagram, dst, now)?;
        self.replace_tunnel(id, *initiator, next, now);
        Ok(len)
    }

    fn take_response(
        &mut self,
        from: Endpoint,
        receiver: SessionIndex,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let id = self.peer_of(receiver);
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        let asked = tunnel.initiated();
        let slot = out.transmits.slot(MESSAGE_ROOM);
        let keepalive = tunnel.conclude(receiver, datagram, slot, now)?;
        out.transmits.commit(from, Ecn::NotCapable, keepalive);
        peer.tx_bytes += keepalive as u64;
        peer.heard(from, datagram.len(), now);
        peer.handshake_complete(now);
        peer.handshake_time = asked.map(|asked| now - asked);
        let unsent = peer.flush_queue(now, &mut out.transmits);
        self.drops.add(DropReason::MessageLimit, unsent);
        self.stay_awake(id, now);
        Ok(())
    }

    pub(crate) fn take_cookie(
        &mut self,
        receiver: SessionIndex,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let id = self.peer_of(receiver);
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        tunnel.take_cookie(datagram, out.transmits.slot(MESSAGE_ROOM), now)?;
        peer.rx_bytes += datagram.len() as u64;
        Ok(())
    }

    /// Lets a handshake message pass, or sends its source a cookie.
    pub(crate) fn admit(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let key = self.key.as_mut().ok_or(DropReason::BadMac1)?;
        let slot = out.transmits.slot(COOKIE_REPLY_LEN);
        match key.gate.admit(from.address.ip(), datagram, slot, now) {
            Admission::Admitted => Ok(()),
            Admission::Refused(reason) => Err(reason),
            Admission::Cookie(len) => {
                out.transmits.commit(from, Ecn::NotCapable, len);
                Err(DropReason::UnderLoad)
            }
        }
    }
}
