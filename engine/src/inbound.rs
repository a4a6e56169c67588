//! Packet in: session by index, open, the source must be this peer's.

use dataplane_common::DropReason;
use proto::message::{Message, SessionIndex};

use crate::ecn::{self, Ecn};
use crate::handover::What;
use crate::ip;
use crate::node::Engine;
use crate::output::{Endpoint, Output};
use crate::peer::Peer;
use crate::time::Timestamp;
use crate::timeouts::KEEPALIVE_TIMEOUT;

impl Engine {
    /// Takes a datagram that arrived on the WireGuard port.
    pub fn handle_datagram(
        &mut self,
        from: Endpoint,
        ecn: Ecn,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) {
        let message = Message::parse(datagram);
        if let Some(receiver) = message.and_then(Message::receiver)
            && let Some(owner) = self.place.other_owner(self.peer_of(receiver))
        {
            let what = What::Datagram { from, ecn, bytes: datagram.into() };
            self.hand_over(owner, what, out);
            return;
        }
        let handled = match message {
            Some(Message::Data { receiver, counter }) => {
                self.take_data((from, ecn), (receiver, counter), datagram, now, out)
            }
            Some(Message::Initiation { .. } | Message::Response { .. }) => {
                self.admit(from, datagram, now, out).map(|()| self.put_off(from, datagram.into()))
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
        (from, ecn): (Endpoint, Ecn),
        (receiver, counter): (SessionIndex, u64),
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
        peer.messages.arrived(receiver, counter);
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
            let packet = &mut out.packets.slot(datagram.len())[..header.len];
            ecn::decapsulate(ecn, packet)?;
            self.network_queue.signal(packet)?;
            out.packets.commit(header.len);
        }
        Ok(())
    }
}

impl Peer {
    /// An authentic message arrived: the peer is where it came from, unless that is a relay, which
    /// is always there.
    pub(crate) fn heard(&mut self, from: Endpoint, len: usize, now: Timestamp) {
        let relayed = self.relay == Some(from.address);
        self.last_heard = Some((now, relayed));
        let relayed = relayed && self.endpoint.is_some();
        if self.endpoint != Some(from) && !relayed && !self.held {
            tracing::debug!(peer = %self.public_key, to = %from.address, "peer roamed");
            self.endpoint = Some(from);
        }
        self.rx_bytes += len as u64;
        self.last_traffic = now;
    }

    pub(crate) fn handshake_complete(&mut self, now: Timestamp) {
        tracing::debug!(peer = %self.public_key, "handshake complete");
        self.last_handshake = Some(now);
    }
}
