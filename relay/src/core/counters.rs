//! What was counted: why packets were dropped, and what passed.

use dataplane_common::{DROP_REASONS, DropReason};
use proto::relay::{LaneRefused, Refusal};

/// Packets dropped by reason, and what was carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// By the reason's number.
    drops: [u64; DROP_REASONS],
    refused: [u64; Refusal::ALL.len()],
    lanes_refused: [u64; LaneRefused::ALL.len()],
    /// Packets that clients have sent by their connections.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets handed to connections of clients.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets that came by links to other relays.
    pub link_packets_in: u64,
    /// Their bytes.
    pub link_bytes_in: u64,
    /// Packets handed to links to other relays.
    pub link_packets_out: u64,
    /// Their bytes.
    pub link_bytes_out: u64,
    /// Packets that went out by lanes, from wherever they came.
    pub lane_packets: u64,
    /// Their bytes, headers of lanes not counted.
    pub lane_bytes: u64,
    /// Answers to STUN.
    pub stun_answers: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [0; DROP_REASONS],
            refused: [0; Refusal::ALL.len()],
            lanes_refused: [0; LaneRefused::ALL.len()],
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
            link_packets_in: 0,
            link_bytes_in: 0,
            link_packets_out: 0,
            link_bytes_out: 0,
            lane_packets: 0,
            lane_bytes: 0,
            stun_answers: 0,
        }
    }
}

impl Counters {
    /// Counts dropped packets.
    pub const fn drop(&mut self, reason: DropReason, packets: usize) {
        self.drops[reason.index()] += packets as u64;
    }

    /// Counts a client whose service was ended.
    pub(super) const fn refuse(&mut self, why: Refusal) {
        self.refused[why.index()] += 1;
    }

    /// Clients whose service was ended for this reason.
    #[must_use]
    pub const fn refused(&self, why: Refusal) -> u64 {
        self.refused[why.index()]
    }

    /// Counts a lane that was asked for and is not.
    pub(super) const fn refuse_lane(&mut self, why: LaneRefused) {
        self.lanes_refused[why.index()] += 1;
    }

    /// Lanes that were asked for and are not, for this reason.
    #[must_use]
    pub const fn lanes_refused(&self, why: LaneRefused) -> u64 {
        self.lanes_refused[why.index()]
    }

    /// Packets dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.drops.iter_mut().zip(other.drops) {
            *mine += theirs;
        }
        for (mine, theirs) in self.refused.iter_mut().zip(other.refused) {
            *mine += theirs;
        }
        for (mine, theirs) in self.lanes_refused.iter_mut().zip(other.lanes_refused) {
            *mine += theirs;
        }
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
        self.link_packets_in += other.link_packets_in;
        self.link_bytes_in += other.link_bytes_in;
        self.link_packets_out += other.link_packets_out;
        self.link_bytes_out += other.link_bytes_out;
        self.lane_packets += other.lane_packets;
        self.lane_bytes += other.lane_bytes;
        self.stun_answers += other.stun_answers;
    }
}
