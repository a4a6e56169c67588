//! Packet in: session by index, open, the source must be this peer's; and handshakes.

use dataplane_common::DropReason;
use proto::message::{COOKIE_REPLY_LEN, Message, SessionIndex};

use crate::ip;
use crate::node::Engine;
use crate::noise::{Admission, MESSAGE_ROOM};
use crate::output::{Endpoint, Output};
use crate::peer::Peer;
use crate::time::Timestamp;
use crate::timeouts::KEEPALIVE_TIMEOUT;

impl Engine {
    /// Takes a datagram that arrived on the WireGuard port.
    pub fn handle_datagram(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) {
        let handled = match Message::parse(datagram) {
            Some(Message::Data { receiver, counter }) => {
                self.take_data(from, receiver, counter, datagram, now, out)
            }
            Some(Message::Initiation { .. }) => self.take_initiation(from, datagram, now, out),
            Some(Message::Response { receiver, .. }) => {
                self.take_response(from, receiver, datagram, now, out)
            }
            Some(Message::CookieReply { receiver }) => {
                self.take_cookie(receiver, datagram, now, out)
            }
            None => Err(DropReason::NotWireGuard),
        };
        if let Err(reason) = handled {
            self.drops.count(reason);
        }
    }

    fn take_data(
        &mut self,
        from: Endpoint,
        receiver: SessionIndex,
        counter: u64,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let id = self.peer_of(receiver);
        self.catch_up(id, now, out);
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;

        let slot = out.packets.slot(datagram.len());
        let opened = tunnel.open(receiver, counter, datagram, slot)?;
        let source = opened.packet.map(|len| ip::parse(&slot[..len]));
        peer.heard(from, datagram.len(), now);
        if opened.confirms {
            peer.handshake_complete(now);
        }
        if source.is_some() {
            peer.acknowledge_at.get_or_insert(now + KEEPALIVE_TIMEOUT);
        }
        let unsent = peer.flush_queue(now, &mut out.transmits);
        self.drops.add(DropReason::MessageLimit, unsent);
        self.stay_awake(id, now);

        if let Some(header) = source {
            let header = header.ok_or(DropReason::InnerNotIp)?;
            if self.allowed_ips.lookup(header.source) != Some(id) {
                return Err(DropReason::SourceNotAllowed);
            }
            out.packets.commit(header.len);
        }
        Ok(())
    }

    fn take_initiation(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        self.admit(from, datagram, now, out)?;
        let key = self.key.as_ref().ok_or(DropReason::BadMac1)?;
        let initiator = key.identity.initiator(datagram).ok_or(DropReason::HandshakeRejected)?;
        let id = *self.by_key.get(&initiator).ok_or(DropReason::UnknownPeer)?;
        self.catch_up(id, now, out);

        let peer = self.peer_mut(id).ok_or(DropReason::UnknownPeer)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownPeer)?;
        let len = tunnel.answer(datagram, out.transmits.slot(MESSAGE_ROOM), now)?;
        tracing::debug!(peer = %peer.public_key, from = %from.address, "handshake answered");
        out.transmits.commit(from, len);
        peer.tx_bytes += len as u64;
        peer.rx_bytes += datagram.len() as u64;
        // An initiation can be replayed to a node that was restarted, so it moves no endpoint; the
        // first message on the session that it asks for does.
        peer.endpoint.get_or_insert(from);
        self.stay_awake(id, now);
        Ok(())
    }

    fn take_response(
        &mut self,
        from: Endpoint,
        receiver: SessionIndex,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        self.admit(from, datagram, now, out)?;
        let id = self.peer_of(receiver);
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let tunnel = peer.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        let slot = out.transmits.slot(MESSAGE_ROOM);
        let keepalive = tunnel.conclude(receiver, datagram, slot, now)?;
        out.transmits.commit(from, keepalive);
        peer.tx_bytes += keepalive as u64;
        peer.heard(from, datagram.len(), now);
        peer.handshake_complete(now);
        let unsent = peer.flush_queue(now, &mut out.transmits);
        self.drops.add(DropReason::MessageLimit, unsent);
        self.stay_awake(id, now);
        Ok(())
    }

    fn take_cookie(
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
    fn admit(
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
                out.transmits.commit(from, len);
                Err(DropReason::UnderLoad)
            }
        }
    }
}

impl Peer {
    /// An authentic message arrived: the peer is where it came from.
    fn heard(&mut self, from: Endpoint, len: usize, now: Timestamp) {
        if self.endpoint != Some(from) {
            tracing::debug!(peer = %self.public_key, to = %from.address, "peer roamed");
            self.endpoint = Some(from);
        }
        self.rx_bytes += len as u64;
        self.last_traffic = now;
    }

    fn handshake_complete(&mut self, now: Timestamp) {
        tracing::debug!(peer = %self.public_key, "handshake complete");
        self.last_handshake = Some(now);
    }
}
