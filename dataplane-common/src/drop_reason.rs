//! Why a packet was dropped: one list, from the kernel programs to the metrics and the tests.

/// Why nearwire dropped a packet.
///
/// The discriminant is the index of the reason's counter, in the kernel's per-CPU map and in the
/// engine's table alike; it never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum DropReason {
    // Decided by the policy program, on the tunnel interface.
    /// The packet ends inside a header that it claims to have.
    PolicyTruncated = 0,
    /// Neither IPv4 nor IPv6.
    PolicyNotIp = 1,
    /// No rule allows it, and it belongs to no flow.
    PolicyNoRule = 2,
    /// A later fragment whose first one did not pass, or a fragment of a fragment.
    PolicyFragment = 3,
    /// More IPv6 extension headers than the program is willing to walk.
    PolicyExtensionHeaders = 4,
    /// An IPv6 header that carries an IPv4-mapped address: it would borrow an IPv4 host's identity.
    PolicyMappedAddress = 5,
    /// A rule denies it.
    PolicyDenied = 6,
    /// It belongs to a flow that the policy now in force does not allow.
    PolicyRevoked = 7,
    /// A rule allows it, but it opens no connection and belongs to none.
    PolicyNoSyn = 8,
    /// A first fragment that does not hold the transport header (RFC 1858).
    PolicyTinyFragment = 9,
    /// A later fragment that would overwrite the flags of a TCP header (RFC 3128).
    PolicyOverlappingFragment = 10,
    /// An ICMP error about no flow, or about none that sent what it quotes.
    PolicyUnrelatedError = 11,

    // Decided by the engine, on a datagram from the network.
    /// Not a WireGuard message: unknown type, or a length that its type cannot have.
    NotWireGuard = 16,
    /// A handshake message whose `mac1` was not made for our public key.
    BadMac1 = 17,
    /// Too many handshakes this second: answered with a cookie instead.
    UnderLoad = 18,
    /// Too many handshakes from this source address, although its cookie is right.
    SourceRateLimited = 19,
    /// A handshake initiation from a public key that is not a peer of ours.
    UnknownPeer = 20,
    /// A receiver index that names no session or handshake of ours.
    UnknownIndex = 21,
    /// A handshake or cookie message that is forged, replayed or out of place.
    HandshakeRejected = 22,
    /// A data message whose counter was used before, or is older than the replay window.
    Replayed = 23,
    /// A data message that fails authentication.
    BadTag = 24,
    /// An authentic data message that does not hold a whole IP packet.
    InnerNotIp = 25,
    /// An authentic packet whose source address belongs to another peer, or to nobody.
    SourceNotAllowed = 26,
    /// A router marked the datagram as congested, and the transport inside would not see it: RFC
    /// 6040 asks for a drop instead.
    CongestedNotCapable = 27,
    /// A segment of TCP, lost on purpose: a queue of ours does not get empty, and by this its sender
    /// learns to fill it less.
    Backlog = 28,

    // Decided by the engine, on a packet from the host.
    /// Not an IP packet, or one longer than the tunnel's MTU allows a datagram to carry.
    HostNotIp = 40,
    /// The destination is in no peer's allowed IPs.
    NoPeer = 41,
    /// The peer's endpoint is not known (yet).
    NoEndpoint = 42,
    /// Too many packets wait for the peer's handshake: the oldest one goes.
    QueueFull = 43,
    /// The peer did not answer the handshake for which the packet waited.
    HandshakeTimeout = 44,
    /// The session has sent as many messages as a key may seal, and no newer session exists.
    MessageLimit = 45,
    /// Longer than the way to the peer carries; its sender was told by ICMP.
    TooBig = 46,

    // Decided by the shell.
    /// The network refused the datagram.
    SendFailed = 60,
    /// The host refused the packet (interface down, or its queue full).
    HostRefused = 61,
    /// The shard that owns the peer has too much handed over to it already.
    HandoverFull = 62,

    // Decided by a relay's switch, in the kernel or in user space.
    /// A datagram for the relay whose lane id names no lane.
    LaneUnknown = 80,
    /// Not from the address, or not to the one, that this end of the lane has proven.
    LaneSource = 81,
    /// The lane's other end has proven no address (yet), and its node has no connection.
    LaneUnbound = 82,
    /// More than the client of a lane's end may send by lanes.
    LaneRate = 83,
    /// Neither a lane's datagram nor STUN.
    LaneMalformed = 84,
    /// The packet has made all the hops it may.
    LaneTtl = 85,
    /// It should leave by an interface that the switch does not have.
    LaneEgress = 87,
    /// More STUN requests than one network may ask.
    StunRate = 88,

    // Decided by a relay, on what its clients and strangers send.
    /// More questions about lanes than the relay is willing to answer.
    LaneBusy = 89,
    /// The network refused a datagram of a lane.
    LaneSend = 90,
    /// The client sends more than it may.
    ClientRate = 91,
    /// The client's network sends more than it may.
    NetworkRate = 92,
    /// The peer is not at this relay.
    PeerAbsent = 93,
    /// The packet waited too long for its receiver.
    QueueAge = 94,
    /// Too much waits for the receiver: the oldest goes.
    ReceiverFull = 95,
    /// Too much waits for all receivers of the relay.
    QueueTotal = 96,
    /// The frame came from a connection that is no more.
    ConnectionGone = 97,
    /// It came by a link to another relay, but the receiver is not here (any more).
    LinkAbsent = 98,
    /// Another relay sent what is from a node that is not there by what it has said.
    LinkStranger = 99,
}

/// The length of a table of counters. There is room for more reasons, so that another one changes no
/// map.
pub const DROP_REASONS: usize = 128;

impl DropReason {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 54] = [
        Self::PolicyTruncated,
        Self::PolicyNotIp,
        Self::PolicyNoRule,
        Self::PolicyFragment,
        Self::PolicyExtensionHeaders,
        Self::PolicyMappedAddress,
        Self::PolicyDenied,
        Self::PolicyRevoked,
        Self::PolicyNoSyn,
        Self::PolicyTinyFragment,
        Self::PolicyOverlappingFragment,
        Self::PolicyUnrelatedError,
        Self::NotWireGuard,
        Self::BadMac1,
        Self::UnderLoad,
        Self::SourceRateLimited,
        Self::UnknownPeer,
        Self::UnknownIndex,
        Self::HandshakeRejected,
        Self::Replayed,
        Self::BadTag,
        Self::InnerNotIp,
        Self::SourceNotAllowed,
        Self::CongestedNotCapable,
        Self::Backlog,
        Self::HostNotIp,
        Self::NoPeer,
        Self::NoEndpoint,
        Self::QueueFull,
        Self::HandshakeTimeout,
        Self::MessageLimit,
        Self::TooBig,
        Self::SendFailed,
        Self::HostRefused,
        Self::HandoverFull,
        Self::LaneUnknown,
        Self::LaneSource,
        Self::LaneUnbound,
        Self::LaneRate,
        Self::LaneMalformed,
        Self::LaneTtl,
        Self::LaneEgress,
        Self::StunRate,
        Self::LaneBusy,
        Self::LaneSend,
        Self::ClientRate,
        Self::NetworkRate,
        Self::PeerAbsent,
        Self::QueueAge,
        Self::ReceiverFull,
        Self::QueueTotal,
        Self::ConnectionGone,
        Self::LinkAbsent,
        Self::LinkStranger,
    ];

    /// Whether a relay decides on it, in the kernel or in user space.
    #[must_use]
    pub const fn is_of_relay(self) -> bool {
        self as u32 >= Self::LaneUnknown as u32
    }

    /// The name that counters, JSON and logs use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PolicyTruncated => "policy_truncated",
            Self::PolicyNotIp => "policy_not_ip",
            Self::PolicyNoRule => "policy_no_rule",
            Self::PolicyFragment => "policy_fragment",
            Self::PolicyExtensionHeaders => "policy_extension_headers",
            Self::PolicyMappedAddress => "policy_mapped_address",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyRevoked => "policy_revoked",
            Self::PolicyNoSyn => "policy_no_syn",
            Self::PolicyTinyFragment => "policy_tiny_fragment",
            Self::PolicyOverlappingFragment => "policy_overlapping_fragment",
            Self::PolicyUnrelatedError => "policy_unrelated_error",
            Self::NotWireGuard => "not_wire_guard",
            Self::BadMac1 => "bad_mac1",
            Self::UnderLoad => "under_load",
            Self::SourceRateLimited => "source_rate_limited",
            Self::UnknownPeer => "unknown_peer",
            Self::UnknownIndex => "unknown_index",
            Self::HandshakeRejected => "handshake_rejected",
            Self::Replayed => "replayed",
            Self::BadTag => "bad_tag",
            Self::InnerNotIp => "inner_not_ip",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::CongestedNotCapable => "congested_not_capable",
            Self::Backlog => "backlog",
            Self::HostNotIp => "host_not_ip",
            Self::NoPeer => "no_peer",
            Self::NoEndpoint => "no_endpoint",
            Self::QueueFull => "queue_full",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::MessageLimit => "message_limit",
            Self::TooBig => "too_big",
            Self::SendFailed => "send_failed",
            Self::HostRefused => "host_refused",
            Self::HandoverFull => "handover_full",
            Self::LaneUnknown => "lane_unknown",
            Self::LaneSource => "lane_source",
            Self::LaneUnbound => "lane_unbound",
            Self::LaneRate => "lane_rate",
            Self::LaneMalformed => "lane_malformed",
            Self::LaneTtl => "lane_ttl",
            Self::LaneEgress => "lane_egress",
            Self::StunRate => "stun_rate",
            Self::LaneBusy => "lane_busy",
            Self::LaneSend => "lane_send",
            Self::ClientRate => "client_rate",
            Self::NetworkRate => "network_rate",
            Self::PeerAbsent => "peer_absent",
            Self::QueueAge => "queue_age",
            Self::ReceiverFull => "receiver_full",
            Self::QueueTotal => "queue_total",
            Self::ConnectionGone => "connection_gone",
            Self::LinkAbsent => "link_absent",
            Self::LinkStranger => "link_stranger",
        }
    }

    /// The index of this reason's counter, below [`DROP_REASONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason of this discriminant, for those of the policy program.
    #[inline(always)]
    #[must_use]
    pub const fn of_policy(discriminant: u32) -> Self {
        match discriminant {
            1 => Self::PolicyNotIp,
            2 => Self::PolicyNoRule,
            3 => Self::PolicyFragment,
            4 => Self::PolicyExtensionHeaders,
            5 => Self::PolicyMappedAddress,
            6 => Self::PolicyDenied,
            7 => Self::PolicyRevoked,
            8 => Self::PolicyNoSyn,
            9 => Self::PolicyTinyFragment,
            10 => Self::PolicyOverlappingFragment,
            11 => Self::PolicyUnrelatedError,
            _ => Self::PolicyTruncated,
        }
    }
}
