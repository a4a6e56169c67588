//! What is remembered of earlier packets: flows and fragmented datagrams.

use crate::{Address, Generation, RuleIndex, protocol};

/// Nanoseconds of a monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// Whether more than `span` has gone by from `self` to `now`.
    #[inline(always)]
    #[must_use]
    pub const fn older_than(self, span: Self, now: Self) -> bool {
        // Saturating: CPUs may read the clock a little out of order.
        now.0.saturating_sub(self.0) > span.0
    }
}

/// A flow as this host sees it, so that both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The end on this side of the tunnel.
    pub host: Address,
    /// The end beyond the tunnel.
    pub peer: Address,
    /// The host's port.
    pub host_port: u16,
    /// The peer's port.
    pub peer_port: u16,
    /// The IP protocol.
    pub protocol: u8,
    /// Zero: keys are compared as bytes, so there must be no implicit padding.
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 16 + 16 + 2 + 2 + 1 + 3);

/// Who sent a flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This host: the flow's replies pass whatever the rules say.
    Host,
    /// A peer, because this rule allowed it.
    Peer(RuleIndex),
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// The policy that last judged it.
    pub generation: Generation,
    opener: u32,
    /// When a packet last renewed it, to within [`FLOW_REFRESH`](crate::FLOW_REFRESH).
    pub seen: Nanos,
}

const _: () = assert!(size_of::<Flow>() == 4 + 4 + 8);

const OPENED_BY_HOST: u32 = u32::MAX;

impl Opener {
    /// The opener as a number, as the kernel's maps hold it.
    #[inline(always)]
    pub(crate) const fn to_number(self) -> u64 {
        match self {
            Self::Host => OPENED_BY_HOST as u64,
            Self::Peer(rule) => rule.0 as u64,
        }
    }

    /// The opener of this number.
    #[inline(always)]
    pub(crate) const fn from_number(number: u64) -> Self {
        match (number & 0xffff_ffff) as u32 {
            OPENED_BY_HOST => Self::Host,
            rule => Self::Peer(RuleIndex(rule)),
        }
    }
}

impl Flow {
    /// A flow judged (or opened) now.
    #[inline(always)]
    #[must_use]
    pub const fn new(generation: Generation, opener: Opener, seen: Nanos) -> Self {
        Self { generation, opener: (opener.to_number() & 0xffff_ffff) as u32, seen }
    }

    /// The same flow, renewed.
    #[inline(always)]
    #[must_use]
    pub const fn renewed(self, now: Nanos) -> Self {
        Self { seen: now, ..self }
    }

    /// Who opened it.
    #[inline(always)]
    #[must_use]
    pub const fn opener(&self) -> Opener {
        Opener::from_number(self.opener as u64)
    }
}

/// A fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Where it comes from.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// The sender's number for it.
    pub id: u32,
    /// The IPv4 protocol; zero for IPv6, whose later fragments need not name it. A whole word, so
    /// that there is no padding.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 16 + 16 + 4 + 4);

/// What allowed the first fragment of a datagram; the later ones follow it.
pub type Fragment = Flow;

/// How long a flow of this protocol may stay silent and still be the same flow.
#[inline(always)]
#[must_use]
pub const fn lifetime(ip_protocol: u8) -> Nanos {
    match ip_protocol {
        // RFC 5382, REQ-5: an established connection may idle for 2 h 4 min.
        protocol::TCP => Nanos::from_secs(2 * 3600 + 4 * 60),
        // RFC 4787, REQ-5: five minutes is the recommended default.
        protocol::UDP => Nanos::from_secs(300),
        // RFC 5508, REQ-1: at least a minute.
        protocol::ICMP | protocol::ICMPV6 => Nanos::from_secs(60),
        // SCTP's heartbeats are 30 s apart; for the rest nothing is written, so the same.
        _ => Nanos::from_secs(600),
    }
}
