//! The node's ends of lanes, all on one UDP socket.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dataplane_common::LaneHeader;
use engine::Ecn;
use proto::key::PublicKey;
use proto::lane::{LANE_HEADER_LEN, LaneId};
use proto::relay::{Batch, LaneOpened};
use relay_client::{ConnectionId, LaneEnd, LaneEvent};
use tokio::io::unix::AsyncFd;

use super::client::ClientId;
use crate::io::awaited;
use crate::io::clock;
use crate::io::divert::MARK;
use crate::io::udp::{Length, RECEIVE_BATCH, Received, Udp};
use crate::mesh::nat64::Prefix;

/// The most ends: as many as peers that packets go to by relays at one time.
const MOST: usize = 4096;

/// See the module.
pub(super) struct Lanes {
    udp: Udp,
    ready: AsyncFd<OwnedFd>,
    ends: HashMap<LaneOf, Lane>,
    /// Whose a datagram of this relay is, by the lane's id.
    by_id: HashMap<(SocketAddr, LaneId), LaneOf>,
    /// When an end has something to send.
    due: Option<Instant>,
    /// Room for what is sent: a header before each packet.
    buffer: Vec<u8>,
    /// By which relays' addresses of IPv4 are reached, on a host without it.
    pub(super) nat64: Option<Prefix>,
}

struct Lane {
    peer: PublicKey,
    relay: SocketAddr,
    end: LaneEnd,
    bound: bool,
}

/// A lane's end among those of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneOf {
    pub(super) client: ClientId,
    pub(super) connection: ConnectionId,
    pub(super) lane: LaneId,
}

/// What came of a lane.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Packet(PublicKey, &'a [u8]),
    /// Its end is bound from now on, or is not.
    Bound(bool),
    /// The relay does not know it any more.
    Lost,
}

impl Lanes {
    pub(super) fn open_socket() -> io::Result<Self> {
        let udp = Udp::open(0, MARK)?;
        let ready = awaited(udp.as_fd().try_clone_to_owned()?)?;
        let (ends, by_id) = (HashMap::new(), HashMap::new());
        Ok(Self { udp, ready, ends, by_id, due: None, buffer: Vec::new(), nat64: None })
    }

    /// A lane was opened by one end or the other: this one is to be bound. `near` is where the
    /// connection goes, which the lane should go to as well.
    pub(super) fn open(&mut self, of: LaneOf, opened: &LaneOpened, near: Option<SocketAddr>) {
        let same = |at: &&SocketAddr| near.is_some_and(|near| near.ip() == at.ip());
        let reach = |at: &SocketAddr| self.nat64.map_or(*at, |prefix| prefix.reach(*at));
        let addresses: Vec<_> = opened.addresses.iter().map(reach).collect();
        let relay = addresses.iter().find(same).or(addresses.first());
        let Some(&relay) = relay else { return };
        // A peer that relays cannot know how it is reached: where the connection goes.
        let here = near.filter(|_| relay.ip().is_unspecified());
        let relay = here.map_or(relay, |near| SocketAddr::new(near.ip(), relay.port()));
        self.close(of);
        if self.ends.len() >= MOST {
            return;
        }
        // Greater than that of an earlier life of the lane, as long as clocks go forward.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let nonce = u64::try_from(time).unwrap_or(u64::MAX >> 1);
        let end = LaneEnd::new(opened, nonce, Instant::now());
        self.by_id.insert((relay, of.lane), of);
        self.ends.insert(of, Lane { peer: opened.peer, relay, end, bound: false });
        self.look();
    }

    pub(super) fn close(&mut self, of: LaneOf) {
        if let Some(gone) = self.ends.remove(&of) {
            self.by_id.remove(&(gone.relay, of.lane));
        }
    }

    /// Lets go of those of connections that are no more.
    pub(super) fn keep(&mut self, stands: impl Fn(ClientId, ConnectionId) -> bool) {
        self.ends.retain(|of, _| stands(of.client, of.connection));
        self.by_id.retain(|_, of| self.ends.contains_key(of));
    }

    /// The host's addresses are others: all ends are proven anew.
    pub(super) fn rebind(&mut self) {
        self.ends.values_mut().for_each(|lane| lane.end.rebind(Instant::now()));
        self.look();
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Finds when the next end has something to send.
    fn look(&mut self) {
        self.due = self.ends.values().filter_map(|lane| lane.end.poll_timeout()).min();
    }

    /// Sends what binds ends and keeps them bound; gives those that are bound no longer.
    pub(super) fn transmit(&mut self) -> Vec<LaneOf> {
        let mut unbound = Vec::new();
        let now = Instant::now();
        if self.due.is_none_or(|due| due > now) {
            return unbound;
        }
        for (of, lane) in &mut self.ends {
            while let Some(bytes) = lane.end.poll_transmit(now) {
                // One that is lost is sent again.
                let _ = self.udp.send_one(lane.relay, &bytes, Length::Any);
            }
            if lane.bound && !lane.end.is_bound() {
                lane.bound = false;
                unbound.push(*of);
            }
        }
        self.look();
        unbound
    }

    /// Sends packets by a lane; what the host does not take is lost, as on any link.
    pub(super) fn send(&mut self, of: LaneOf, batch: Batch<'_>) {
        let Some(lane) = self.ends.get_mut(&of) else { return };
        if lane.end.sent(Instant::now()) {
            self.due = self.due.into_iter().chain(lane.end.poll_timeout()).min();
        }
        let header = lane.end.header();
        self.buffer.clear();
        for packet in batch.datagrams() {
            self.buffer.extend_from_slice(&header);
            self.buffer.extend_from_slice(packet);
        }
        let segment = batch.segment() + LANE_HEADER_LEN;
        // What fits one datagram without a lane's headers may not fit with them.
        let most = (65_000 / segment).max(1) * segment;
        for part in self.buffer.chunks(most) {
            let to = lane.relay.into();
            let batch = engine::Batch { to, ecn: Ecn::NotCapable, bytes: part, segment };
            let _ = self.udp.send(&batch, clock::now());
        }
    }

    /// Waits until something has come, and takes it.
    pub(super) async fn receive(&self, into: &mut Received) -> io::Result<()> {
        loop {
            let mut ready = self.ready.readable().await?;
            self.udp.receive(into)?;
            // Emptied: the kernel says again when more comes.
            if !into.is_full() {
                ready.clear_ready();
            }
            if into.datagrams(0..RECEIVE_BATCH).next().is_some() {
                return Ok(());
            }
        }
    }

    /// What has come means this.
    pub(super) fn hear(&mut self, received: &Received, mut tell: impl FnMut(LaneOf, Heard<'_>)) {
        let now = Instant::now();
        let mut changed = false;
        for (from, _, datagram) in received.datagrams(0..RECEIVE_BATCH) {
            let Some(header) = datagram.first_chunk().copied().and_then(LaneHeader::parse) else {
                continue;
            };
            let Some(&of) = self.by_id.get(&(from.address, header.lane)) else { continue };
            let Some(lane) = self.ends.get_mut(&of) else { continue };
            match lane.end.receive(datagram, now) {
                Some(LaneEvent::Packet(packet)) => tell(of, Heard::Packet(lane.peer, packet)),
                Some(LaneEvent::Bound(_)) => {
                    (lane.bound, changed) = (true, true);
                    tell(of, Heard::Bound(true));
                }
                Some(LaneEvent::Lost) => {
                    self.close(of);
                    tell(of, Heard::Lost);
                }
                None => changed = true,
            }
        }
        if changed {
            self.look();
        }
    }
}

/// Packets of one peer that came together, to be handed on together.
pub(super) struct Run<F> {
    from: Option<F>,
    bytes: Vec<u8>,
    segment: usize,
    /// A shorter packet ends a run.
    ended: bool,
}

impl<F> Default for Run<F> {
    fn default() -> Self {
        Self { from: None, bytes: Vec::new(), segment: 0, ended: false }
    }
}

impl<F: Copy + PartialEq> Run<F> {
    /// Adds a packet; what was there is handed on before, if this does not continue it.
    pub(super) fn add(&mut self, from: F, packet: &[u8], deliver: impl FnMut(F, Batch<'_>)) {
        let count = self.bytes.len() / self.segment.max(1);
        let continues = self.from == Some(from)
            && !self.ended
            && packet.len() <= self.segment
            && count < proto::relay::MAX_SEGMENTS
            && self.bytes.len() + packet.len() <= 65_000;
        if !continues {
            self.flush(deliver);
            (self.from, self.segment) = (Some(from), packet.len());
        }
        self.ended = packet.len() < self.segment;
        self.bytes.extend_from_slice(packet);
    }

    pub(super) fn flush(&mut self, mut deliver: impl FnMut(F, Batch<'_>)) {
        if let Some(from) = self.from.take()
            && let Some(batch) = Batch::new(&self.bytes, self.segment.max(1))
        {
            deliver(from, batch);
        }
        self.bytes.clear();
        self.ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_one_peer_and_length_are_handed_on_together() {
        let (a, b) = (PublicKey::from([1; 32]), PublicKey::from([2; 32]));
        let mut run = Run::default();
        let mut told = Vec::new();
        let packets =
            [(a, 5), (a, 5), (a, 3), (a, 5), (b, 5), (b, 6), (b, 6)].map(|(p, n)| (p, vec![7; n]));
        for (from, packet) in &packets {
            run.add(*from, packet, |from, batch| {
                told.push((from, batch.datagrams().map(<[u8]>::len).collect::<Vec<_>>()));
            });
        }
        run.flush(|from, batch| {
            told.push((from, batch.datagrams().map(<[u8]>::len).collect()));
        });
        let right = [(a, vec![5, 5, 3]), (a, vec![5]), (b, vec![5]), (b, vec![6, 6])];
        assert_eq!(told, right);
    }
}
