//! What was counted: why packets were dropped, and what passed.

use proto::relay::Refusal;

/// Why the relay dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Drop {
    /// The client sends more than it may.
    ClientRate,
    /// The client's network sends more than it may.
    NetworkRate,
    /// The peer is not at this relay.
    PeerAbsent,
    /// The packet waited too long for its receiver.
    QueueAge,
    /// Too much waits for the receiver: the oldest goes.
    QueueFull,
    /// Too much waits for all receivers.
    QueueTotal,
    /// The frame came from a connection that is no more.
    ConnectionGone,
    /// No lane has this id.
    LaneUnknown,
    /// The address is not the one that the end has proven.
    LaneSource,
    /// The other end has no address, and its node no connection.
    LaneUnbound,
    /// The lane carries more than it may.
    LaneRate,
    /// Not a datagram of a lane.
    LaneMalformed,
    /// More questions about lanes than the relay is willing to answer.
    LaneBusy,
    /// The network refused a datagram of a lane.
    LaneSend,
    /// It came by a link to another relay, but the receiver is not here (any more).
    LinkAbsent,
    /// Another relay sent what is from a node that is not there by what it has said.
    LinkStranger,
}

impl Drop {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 16] = [
        Self::ClientRate,
        Self::NetworkRate,
        Self::PeerAbsent,
        Self::QueueAge,
        Self::QueueFull,
        Self::QueueTotal,
        Self::ConnectionGone,
        Self::LaneUnknown,
        Self::LaneSource,
        Self::LaneUnbound,
        Self::LaneRate,
        Self::LaneMalformed,
        Self::LaneBusy,
        Self::LaneSend,
        Self::LinkAbsent,
        Self::LinkStranger,
    ];

    /// The name that metrics and JSON use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientRate => "client_rate",
            Self::NetworkRate => "network_rate",
            Self::PeerAbsent => "peer_absent",
            Self::QueueAge => "queue_age",
            Self::QueueFull => "queue_full",
            Self::QueueTotal => "queue_total",
            Self::ConnectionGone => "connection_gone",
            Self::LaneUnknown => "lane_unknown",
            Self::LaneSource => "lane_source",
            Self::LaneUnbound => "lane_unbound",
            Self::LaneRate => "lane_rate",
            Self::LaneMalformed => "lane_malformed",
            Self::LaneBusy => "lane_busy",
            Self::LaneSend => "lane_send",
            Self::LinkAbsent => "link_absent",
            Self::LinkStranger => "link_stranger",
        }
    }
}

/// Packets dropped by reason, and what was carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    drops: [u64; Drop::ALL.len()],
    refused: [u64; Refusal::ALL.len()],
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
}

impl Counters {
    /// Counts dropped packets.
    pub const fn drop(&mut self, reason: Drop, packets: usize) {
        self.drops[reason as usize] += packets as u64;
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

    /// Packets dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: Drop) -> u64 {
        self.drops[reason as usize]
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.drops.iter_mut().zip(other.drops) {
            *mine += theirs;
        }
        for (mine, theirs) in self.refused.iter_mut().zip(other.refused) {
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
    }
}
