//! Packets to a key: by the lane of the two if the receiver's end is bound, else by its connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use dataplane_common::DropReason;
use proto::key::PublicKey;
use proto::lane::{LANE_HEADER_LEN, LaneId, data_header};
use proto::relay::{Batch, RelayFrame};

use super::Relay;
use super::mesh::{Receiver, Road};
use crate::core::node::ClientId;
use crate::core::output::{Made, Output, Packet, payload};
use crate::core::slab::Index;

impl Relay {
    /// Sends on what a client has sent to a key; `chunk` holds the batch's bytes.
    pub(super) fn send(
        &mut self,
        id: ClientId,
        to: &PublicKey,
        batch: &Batch<'_>,
        chunk: &Bytes,
        now: Instant,
        out: &mut Output,
    ) {
        let Some(node) = self.nodes.get_mut(id.node) else { return };
        let Some(network) = self.networks.get_mut(node.network) else { return };
        let (count, bytes) = (batch.datagrams().len(), batch.bytes().len());
        self.counters.packets_in += count as u64;
        self.counters.bytes_in += bytes as u64;
        if !node.bucket.take(bytes, node.rate, now) {
            return self.counters.drop(DropReason::ClientRate, count);
        }
        if !network.share.take(&mut node.part, bytes, now) {
            return self.counters.drop(DropReason::NetworkRate, count);
        }
        let from = node.key;
        let lane = node.lanes.get(to).copied();
        let receiver =
            Receiver { network: network.id, key: *to, here: network.members.get(to).copied() };
        let road = self.road(&receiver);
        let lane = lane.filter(|_| !matches!(road, Some(Road::Link(_))));
        if let Some((address, via, lane)) = lane.and_then(|lane| self.far_end(lane, id.node)) {
            self.counters.lane_packets += count as u64;
            self.counters.lane_bytes += bytes as u64;
            return out.datagrams.push(with_headers(batch, lane, address, via));
        }
        let segment = u16::try_from(batch.segment()).unwrap_or(u16::MAX);
        let packet = Packet { from, segment, payload: payload(chunk, batch), at: now };
        let sent = match road {
            Some(Road::Here(index)) => self.queue(index, packet, now, out),
            Some(Road::Link(relay)) => self.pass_on(relay, &receiver, packet, out),
            None => false,
        };
        if !sent {
            self.counters.drop(DropReason::PeerAbsent, count);
            if self.may_ask(id.node, now) {
                self.tell(id.node, RelayFrame::PeerGone(*to), now, out);
            }
        }
    }

    /// Takes data of a lane whose other end has no address: to that node's connection. `payload` is
    /// without headers.
    pub fn lane_data(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        segment: usize,
        now: Instant,
        out: &mut Output,
    ) {
        let ends = self.lanes.find(lane).and_then(|(index, side)| {
            let lane = self.lanes.get(index)?;
            Some((lane.end(side).node, lane.end(side.other()).node))
        });
        let Some((from, to)) = ends else {
            return self.counters.drop(DropReason::LaneUnknown, 1);
        };
        let Some(from) = self.nodes.get(from).map(|node| node.key) else { return };
        let segment = u16::try_from(segment.max(1)).unwrap_or(u16::MAX);
        let packet = Packet { from, segment, payload, at: now };
        let count = packet.count();
        if !self.queue(to, packet, now, out) {
            self.counters.drop(DropReason::LaneUnbound, count);
        }
    }

    /// Where the far end of a node's lane is bound, and its id.
    fn far_end(&self, lane: Index, node: Index) -> Option<(SocketAddr, Option<IpAddr>, LaneId)> {
        let lane = self.lanes.get(lane)?;
        let end = lane.end(lane.side_of(node).other());
        end.bound.map(|bound| (bound.from, bound.local, end.id))
    }
}

/// The batch as datagrams of a lane.
fn with_headers(batch: &Batch<'_>, lane: LaneId, to: SocketAddr, via: Option<IpAddr>) -> Made {
    let count = batch.datagrams().len();
    let mut bytes = Vec::with_capacity(batch.bytes().len() + count * LANE_HEADER_LEN);
    for datagram in batch.datagrams() {
        bytes.extend(data_header(lane));
        bytes.extend_from_slice(datagram);
    }
    Made { to, via, segment: batch.segment() + LANE_HEADER_LEN, bytes }
}
