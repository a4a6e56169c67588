//! Packet out: peer by destination, seal into the send buffer, or wait for a handshake.

use dataplane_common::DropReason;

use crate::ip;
use crate::node::Engine;
use crate::noise::{MESSAGE_ROOM, sealed_room};
use crate::offload::VnetHeader;
use crate::offload::split::{Cut, complete_checksum};
use crate::output::{Output, Transmits};
use crate::peer::Peer;
use crate::time::Timestamp;

impl Engine {
    /// Takes a packet from the host, the first `len` bytes of `buffer`.
    ///
    /// The bytes after it are used for padding: give [`crate::PADDING`] of them, or the packet
    /// leaves unpadded.
    pub fn handle_packet(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        now: Timestamp,
        out: &mut Output,
    ) {
        if let Err(reason) = self.send_packet(buffer, len, now, out) {
            self.drops.count(reason);
        }
    }

    /// Takes what an interface with offload hands us: a packet as [`Self::handle_packet`] does, with
    /// a checksum to be completed or a super-packet to be cut. `buffer` is spoiled.
    pub fn handle_offloaded(
        &mut self,
        vnet: &VnetHeader,
        buffer: &mut [u8],
        len: usize,
        now: Timestamp,
        out: &mut Output,
    ) {
        let Some(gso) = vnet.gso else {
            let packet = buffer.get_mut(..len);
            let whole = match packet {
                Some(packet) if vnet.needs_checksum => complete_checksum(vnet, packet).is_some(),
                packet => packet.is_some(),
            };
            if whole {
                self.handle_packet(buffer, len, now, out);
            } else {
                self.drops.count(DropReason::HostNotIp);
            }
            return;
        };
        match buffer.get(..len).and_then(|packet| Cut::new(vnet, gso, packet)) {
            Some(cut) => cut.each(buffer, len, |packet, len| {
                self.handle_packet(packet, len, now, out);
            }),
            None => self.drops.count(DropReason::HostNotIp),
        }
    }

    fn send_packet(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), DropReason> {
        let header = buffer.get(..len).and_then(ip::parse).ok_or(DropReason::HostNotIp)?;
        let id = self.allowed_ips.lookup(header.destination).ok_or(DropReason::NoPeer)?;
        self.catch_up(id, now, out);
        let padded = ip::padded_len(len, self.mtu).min(buffer.len());
        buffer[len..padded].fill(0);
        let packet = &buffer[..padded];

        let peer = self.peer_mut(id).ok_or(DropReason::NoPeer)?;
        if peer.endpoint.is_none() {
            return Err(DropReason::NoEndpoint);
        }
        let tunnel = peer.tunnel.as_ref().ok_or(DropReason::NoPeer)?;
        if tunnel.is_ready() {
            let worn = tunnel.is_worn();
            peer.seal(packet, now, &mut out.transmits)?;
            if worn {
                peer.initiate(now, &mut out.transmits);
            }
        } else {
            let fits = peer.enqueue(packet);
            peer.initiate(now, &mut out.transmits);
            if !fits {
                self.drops.count(DropReason::QueueFull);
            }
        }
        self.stay_awake(id, now);
        Ok(())
    }
}

impl Peer {
    /// Seals a packet, or a keepalive if it is empty, on the current session.
    pub(crate) fn seal(
        &mut self,
        packet: &[u8],
        now: Timestamp,
        transmits: &mut Transmits,
    ) -> Result<(), DropReason> {
        let to = self.endpoint.ok_or(DropReason::NoEndpoint)?;
        let tunnel = self.tunnel.as_mut().ok_or(DropReason::NoPeer)?;
        let len = tunnel.seal(packet, transmits.slot(sealed_room(packet.len())))?;
        transmits.commit(to, len);
        self.tx_bytes += len as u64;
        self.last_traffic = now;
        self.acknowledge_at = None;
        Ok(())
    }

    /// Asks the peer for a session, unless that was done and its answer is awaited.
    pub(crate) fn initiate(&mut self, now: Timestamp, transmits: &mut Transmits) {
        let (Some(to), Some(tunnel)) = (self.endpoint, self.tunnel.as_mut()) else { return };
        if let Some(len) = tunnel.initiate(transmits.slot(MESSAGE_ROOM), now) {
            tracing::debug!(peer = %self.public_key, "handshake initiation sent");
            transmits.commit(to, len);
            self.tx_bytes += len as u64;
        }
    }

    /// Sends a keepalive, or asks for a session to send it on.
    pub(crate) fn keep_alive(&mut self, now: Timestamp, transmits: &mut Transmits) {
        if self.tunnel.as_ref().is_some_and(|tunnel| tunnel.is_ready()) {
            // What can go wrong is counted where packets are; a keepalive is none.
            let _ = self.seal(&[], now, transmits);
        } else {
            self.initiate(now, transmits);
        }
    }

    /// Sends what waited for the handshake; gives how many packets could not be sealed.
    pub(crate) fn flush_queue(&mut self, now: Timestamp, transmits: &mut Transmits) -> u64 {
        let mut failed = 0;
        while let Some(packet) = self.queue.pop_front() {
            failed += u64::from(self.seal(&packet, now, transmits).is_err());
        }
        failed
    }
}
