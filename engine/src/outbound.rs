//! Packet out: peer by destination, seal into the send buffer, or wait for a handshake.

use dataplane_common::{DropReason, Slot};

use crate::backlog::Backlog;
use crate::drops::Drops;
use crate::ecn::Ecn;
use crate::handover::What;
use crate::ip;
use crate::node::Engine;
use crate::noise::{MESSAGE_ROOM, sealed_room};
use crate::offload::VnetHeader;
use crate::offload::split::{Cut, complete_checksum};
use crate::output::{Output, Transmits};
use crate::packets::Packets;
use crate::peer::Peer;
use crate::time::Timestamp;
use crate::too_big::too_big;

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
        if let Some(slot) = self.route(buffer.get(..len), None, now, out) {
            self.send_to(slot, now, out, |way| way.send(buffer, len));
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
        let packet = buffer.get_mut(..len);
        let Some(gso) = vnet.gso else {
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
        let Some(cut) = packet.and_then(|packet| Cut::new(vnet, gso, packet)) else {
            self.drops.count(DropReason::HostNotIp);
            return;
        };
        if let Some(slot) = self.route(buffer.get(..len), Some(vnet), now, out) {
            self.send_to(slot, now, out, |way| {
                cut.each(buffer, len, |packet, len| way.send(packet, len));
            });
        }
    }

    /// The peer to which a packet belongs. If there is none here, it was dropped or handed over.
    fn route(
        &mut self,
        packet: Option<&[u8]>,
        vnet: Option<&VnetHeader>,
        now: Timestamp,
        out: &mut Output,
    ) -> Option<Slot> {
        let destination = packet.and_then(ip::parse).map(|header| header.destination);
        let Some((packet, destination)) = packet.zip(destination) else {
            self.drops.count(DropReason::HostNotIp);
            return None;
        };
        let Some(slot) = self.allowed_ips.lookup(destination) else {
            self.drops.count(DropReason::NoPeer);
            return None;
        };
        if let Some(owner) = self.place.other_owner(slot) {
            let what = What::Packet { vnet: vnet.copied(), bytes: packet.into() };
            self.hand_over(owner, what, out);
            return None;
        }
        self.catch_up(slot, now, out);
        Some(slot)
    }

    /// Lets `send` send any number of packets to one peer.
    fn send_to(
        &mut self,
        slot: Slot,
        now: Timestamp,
        out: &mut Output,
        send: impl FnOnce(&mut Way<'_>),
    ) {
        let peer = self.peers.get_mut(slot.0 as usize).and_then(Option::as_mut);
        let Some(peer) = peer else {
            self.drops.count(DropReason::NoPeer);
            return;
        };
        let (mtu, backlog) = (self.mtu.min(peer.fits), &mut self.host_queue);
        let (drops, Output { transmits, packets, .. }) = (&mut self.drops, out);
        let told = false;
        send(&mut Way { peer, mtu, now, backlog, drops, transmits, packets, told });
        self.stay_awake(slot, now);
    }
}

/// The way to one peer, looked up once for all packets of a super-packet.
struct Way<'e> {
    peer: &'e mut Peer,
    mtu: usize,
    now: Timestamp,
    backlog: &'e mut Backlog,
    drops: &'e mut Drops,
    transmits: &'e mut Transmits,
    packets: &'e mut Packets,
    /// The host knows that what it sends is too long.
    told: bool,
}

impl Way<'_> {
    /// Seals a packet, the first `len` bytes of `buffer`, or lets it wait for a session.
    fn send(&mut self, buffer: &mut [u8], len: usize) {
        if let Err(reason) = self.try_send(buffer, len) {
            self.drops.count(reason);
        }
    }

    fn try_send(&mut self, buffer: &mut [u8], len: usize) -> Result<(), DropReason> {
        if len > self.peer.fits {
            self.refuse(&buffer[..len])?;
        }
        self.backlog.signal(&mut buffer[..len])?;
        let padded = ip::padded_len(len, self.mtu).min(buffer.len());
        buffer[len..padded].fill(0);
        let packet = &buffer[..padded];
        let Self { peer, now, transmits, .. } = self;
        if peer.endpoint.is_none() {
            peer.stuck = (peer.stuck.0 + 1, *now);
            return Err(DropReason::NoEndpoint);
        }
        let tunnel = peer.tunnel.as_ref().ok_or(DropReason::NoPeer)?;
        if tunnel.is_ready() {
            let worn = tunnel.is_worn();
            peer.seal(packet, *now, transmits)?;
            if worn {
                peer.initiate(*now, transmits);
            }
        } else {
            let fits = peer.enqueue(packet);
            peer.initiate(*now, transmits);
            if !fits {
                self.drops.count(DropReason::QueueFull);
            }
        }
        Ok(())
    }
}

impl Way<'_> {
    /// Tells the host that a packet is too long, if it can send shorter ones; once is enough for all
    /// parts of a super-packet.
    fn refuse(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        let Some(error) = too_big(packet, self.peer.fits) else { return Ok(()) };
        if !self.told {
            self.told = true;
            self.packets.slot(error.len()).copy_from_slice(&error);
            self.packets.commit(error.len());
        }
        Err(DropReason::TooBig)
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
        transmits.commit(to, Ecn::of_packet(packet), len);
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
            transmits.commit(to, Ecn::NotCapable, len);
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
