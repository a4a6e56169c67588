//! What comes to the port of lanes: data is switched at once, the rest is the core's.

use dataplane_common::DropReason;
use proto::lane::{LANE_HEADER_LEN, LaneHeader, LaneId, LaneKind, LaneMessage, data_header};
use proto::relay::MAX_SEGMENTS;

use super::Hub;
use super::outbox::Waiting;
use crate::core::{Forward, Verdict};
use crate::server::udp::{Arrival, Departure, RECEIVE_BATCH, Received, Run};

/// Receives from the port in a round.
const RECEIVES: usize = 4;

impl Hub {
    pub(super) fn receive(&mut self, received: &mut Received) {
        for _ in 0..RECEIVES {
            let count = match self.udp.as_ref().map(|udp| udp.receive(received)) {
                Some(Ok(count)) => count,
                Some(Err(error)) => {
                    tracing::debug!(%error, "receiving datagrams of lanes failed");
                    return;
                }
                None => return,
            };
            for run in received.runs(count) {
                self.switch_run(run);
            }
            self.flush();
            if count < RECEIVE_BATCH {
                return;
            }
        }
    }

    /// Switches datagrams of one source: those of one lane together.
    fn switch_run(&mut self, run: Run<'_>) {
        let Run { arrival, stride, mut bytes } = run;
        if bytes.is_empty() {
            self.lanes.drop(DropReason::LaneMalformed, 1);
        }
        while !bytes.is_empty() {
            let same = same_lane(bytes, stride);
            let (these, rest) = std::mem::take(&mut bytes).split_at_mut(same);
            bytes = rest;
            let Arrival { from, local, .. } = arrival;
            match self.switch.judge(these, stride, from, local, self.now.at) {
                Verdict::Forward(forward) => self.forward(forward, these, stride, &arrival),
                Verdict::Up(lane) => {
                    for batch in these.chunks(stride * MAX_SEGMENTS) {
                        self.up(lane, batch, stride);
                    }
                }
                Verdict::Control => self.control(these, &arrival),
                Verdict::Stun => self.stun(these, &arrival),
                Verdict::Drop(reason) => self.lanes.drop(reason, these.len().div_ceil(stride)),
            }
        }
    }

    /// Sends data of one end to the other.
    fn forward(&mut self, forward: Forward, bytes: &mut [u8], stride: usize, arrival: &Arrival) {
        let Forward { to, via, lane } = forward;
        let count = bytes.len().div_ceil(stride);
        for datagram in bytes.chunks_mut(stride) {
            datagram[..LANE_HEADER_LEN].copy_from_slice(&data_header(lane));
        }
        self.lanes.lane_packets += count as u64;
        self.lanes.lane_bytes += (bytes.len() - count * LANE_HEADER_LEN) as u64;
        self.depart(&Departure { to, via, ecn: arrival.ecn, segment: stride, bytes });
    }

    fn control(&mut self, datagram: &[u8], arrival: &Arrival) {
        let Some(message) = LaneMessage::parse(datagram) else {
            return self.lanes.drop(DropReason::LaneMalformed, 1);
        };
        let Arrival { from, local, .. } = *arrival;
        self.relay.lane_message(&message, from, local, self.now.at, &mut self.out);
        self.apply();
        if let LaneMessage::Keepalive(lane, _) = message {
            self.in_kernel(|kernel| kernel.heard(lane, from));
        }
    }

    /// Gives data to the connection of the node at the other end.
    fn up(&mut self, lane: LaneId, batch: &[u8], stride: usize) {
        // Not more than is used: it may wait for long.
        let headers = batch.len().div_ceil(stride) * LANE_HEADER_LEN;
        let mut payload = Vec::with_capacity(batch.len().saturating_sub(headers));
        for datagram in batch.chunks(stride) {
            payload.extend_from_slice(&datagram[LANE_HEADER_LEN..]);
        }
        let segment = (stride - LANE_HEADER_LEN).min(payload.len());
        self.relay.lane_data(lane, payload.into(), segment, self.now.at, &mut self.out);
        self.apply();
    }

    /// Sends datagrams, together with others for the same destination if those are soon to come.
    pub(super) fn depart(&mut self, departure: &Departure<'_>) {
        if let Some(full) = self.outbox.add(departure) {
            self.send(&full.departure());
        }
        if departure.is_many() {
            self.send(departure);
        }
    }

    /// Sends what has waited for others.
    pub(super) fn flush(&mut self) {
        let all = self.outbox.take();
        let departures = all.iter().map(Waiting::departure);
        let refused = self.udp.as_ref().map_or(0, |udp| udp.send_all(departures));
        self.outbox.give_back(all);
        self.lanes.drop(DropReason::LaneSend, refused);
    }

    fn send(&mut self, departure: &Departure<'_>) {
        let refused = self.udp.as_ref().map_or(0, |udp| udp.send(departure));
        self.lanes.drop(DropReason::LaneSend, refused);
    }
}

/// How many bytes at the front have the same header, in whole datagrams but for the last.
fn same_lane(bytes: &[u8], stride: usize) -> usize {
    let Some(header) = bytes.first_chunk::<LANE_HEADER_LEN>() else {
        return stride.min(bytes.len());
    };
    // What is no data is answered one by one.
    if LaneHeader::parse(*header).is_none_or(|header| header.kind != LaneKind::Data) {
        return stride.min(bytes.len());
    }
    let same = bytes.chunks(stride).take_while(|datagram| {
        // A datagram that is a header alone is malformed, so it is judged by itself.
        datagram.starts_with(header) && datagram.len() > LANE_HEADER_LEN
    });
    match same.count() {
        0 => stride.min(bytes.len()),
        count => (count * stride).min(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_of_one_lane_is_taken_together() {
        let datagram = |kind, lane, len: usize| {
            let mut bytes = vec![0xb7, 0x6e, 0x77, kind, 0, 0, 0, lane];
            bytes.resize(len, 9);
            bytes
        };
        let run = |datagrams: &[Vec<u8>]| same_lane(&datagrams.concat(), 20);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 1, 20), datagram(0, 1, 9)]), 49);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 1, 20), datagram(0, 1, 8)]), 40);
        assert_eq!(run(&[datagram(0, 1, 20), datagram(0, 2, 20)]), 20);
        assert_eq!(run(&[datagram(5, 1, 20), datagram(5, 1, 20)]), 20);
        assert_eq!(run(&[vec![1, 2, 3]]), 3);
        let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        assert_eq!(run(&[stun.clone(), stun]), 20);
        assert_eq!(run(&[datagram(0, 1, 8)]), 8);
    }
}
