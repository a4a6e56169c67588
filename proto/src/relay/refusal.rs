//! Why a relay does not serve.

/// Why the relay ends a connection. The number is what stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// The node speaks another version.
    #[error("the relay speaks another version of the protocol: update the older of the two")]
    Version = 1,
    /// Not a frame, or not one that has its place here.
    #[error("the relay did not understand a frame")]
    Malformed = 2,
    /// The ticket names a control key that this relay does not trust.
    #[error("the ticket is by a control key that the relay does not know: add the key there")]
    UnknownControlKey = 3,
    /// The ticket's signature is wrong.
    #[error("the ticket's signature is not by the control key that it names")]
    ForgedTicket = 4,
    /// The ticket's time is over.
    #[error(
        "by the relay's clock the ticket has expired: ask the control plane for a new one, or set the clock"
    )]
    ExpiredTicket = 5,
    /// The proof is not by the ticket's identity key, or not for this connection.
    #[error("the proof is not by the key that the ticket names, for this connection")]
    BadProof = 6,
    /// The relay has as many clients as it may have.
    #[error("the relay is full: use another one")]
    Full = 7,
    /// The network has as many clients as it may have here.
    #[error("the network has as many clients as it may have on this relay")]
    NetworkFull = 8,
    /// The same node has connected anew.
    #[error("the node has connected to the relay once more")]
    Replaced = 9,
    /// The relay is going away.
    #[error("the relay is going away: use another one")]
    Draining = 10,
    /// The node was silent too long, or did not finish its admission in time.
    #[error("the relay did not hear from the node in time")]
    TimedOut = 11,
    /// The node does not read what the relay has to tell it.
    #[error("the node does not read what the relay has to tell it")]
    NotReading = 12,
    /// The control plane says that the node's tickets are void.
    #[error("the control plane has taken back the node's right to be served")]
    Revoked = 13,
    /// The relay is another node's of a network, and the policy does not grant it to this one.
    #[error("the policy does not let this node use that node as a relay")]
    NotGranted = 14,
}

/// Why there is no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum LaneRefused {
    /// The peer is not connected to this relay.
    #[error("the peer is not at this relay")]
    PeerAbsent = 1,
    /// The node or its peer has as many lanes as it may have.
    #[error("one of the two has as many lanes as it may have")]
    TooMany = 2,
    /// The relay has as many lanes as it may have.
    #[error("the relay has as many lanes as it may have")]
    Full = 3,
    /// A lane to oneself.
    #[error("a lane joins two nodes, not one with itself")]
    Oneself = 4,
    /// The relay has no UDP port for lanes.
    #[error("the relay has no lanes")]
    NoLanes = 5,
    /// The peer is at another relay of the region; a lane is one relay's.
    #[error("the peer is at another relay of the region: send by the connection")]
    PeerElsewhere = 6,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 14] = [
        Self::Version,
        Self::Malformed,
        Self::UnknownControlKey,
        Self::ForgedTicket,
        Self::ExpiredTicket,
        Self::BadProof,
        Self::Full,
        Self::NetworkFull,
        Self::Replaced,
        Self::Draining,
        Self::TimedOut,
        Self::NotReading,
        Self::Revoked,
        Self::NotGranted,
    ];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&refusal| refusal as u8 == code)
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The name that metrics and logs use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::UnknownControlKey => "unknown_control_key",
            Self::ForgedTicket => "forged_ticket",
            Self::ExpiredTicket => "expired_ticket",
            Self::BadProof => "bad_proof",
            Self::Full => "full",
            Self::NetworkFull => "network_full",
            Self::Replaced => "replaced",
            Self::Draining => "draining",
            Self::TimedOut => "timed_out",
            Self::NotReading => "not_reading",
            Self::Revoked => "revoked",
            Self::NotGranted => "not_granted",
        }
    }
}

impl LaneRefused {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::PeerAbsent,
        Self::TooMany,
        Self::Full,
        Self::Oneself,
        Self::NoLanes,
        Self::PeerElsewhere,
    ];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&refusal| refusal as u8 == code)
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The name that metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PeerAbsent => "peer_absent",
            Self::TooMany => "too_many",
            Self::Full => "full",
            Self::Oneself => "oneself",
            Self::NoLanes => "no_lanes",
            Self::PeerElsewhere => "peer_elsewhere",
        }
    }
}
