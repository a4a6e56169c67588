//! What is remembered of earlier packets: flows and fragmented datagrams.

use crate::{
    Address, Direction, Generation, RuleIndex, Signals, Traffic, protocol,
    words::{split, zero},
};

/// Nanoseconds of a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// A clock that stands still between the ticks of the kernel.
pub trait Clock {
    /// The tick. Nearly free; its number comes again after long.
    fn tick(&self) -> Tick;
    /// The time, which costs more.
    fn now(&self) -> Nanos;
}

/// A tick of a [`Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tick(pub u32);

/// A clock that stands still for good.
impl Clock for Nanos {
    #[inline(always)]
    fn tick(&self) -> Tick {
        // Other times nearly always have another one.
        Tick(((self.0 ^ self.0 >> 32) & 0xffff_ffff) as u32)
    }

    #[inline(always)]
    fn now(&self) -> Nanos {
        *self
    }
}

/// A flow as this host sees it, so that both directions have one key.
///
/// Words, because a word written in parts and read whole stalls the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The end on this side of the tunnel.
    pub host: Address,
    /// The end beyond the tunnel.
    pub peer: Address,
    /// From the lowest bit: the host's port, the peer's port, the IP protocol.
    rest: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 40);

/// A [`FlowKey`] as words, as the kernel's map holds it.
pub type FlowKeyWords = [u64; 5];

impl FlowKey {
    /// The flow between these ports of these ends. ICMP's echoes have their identifier for the
    /// asker's port and 8 for the other.
    #[inline(always)]
    #[must_use]
    pub const fn new(protocol: u8, host: (Address, u16), peer: (Address, u16)) -> Self {
        let rest = (protocol as u64) << 32 | (peer.1 as u64) << 16 | host.1 as u64;
        Self { host: host.0, peer: peer.0, rest }
    }

    /// The flow of a packet that goes this way.
    #[inline(always)]
    pub(crate) const fn of_packet(
        direction: Direction,
        protocol: u8,
        source: (Address, u16),
        destination: (Address, u16),
    ) -> Self {
        match direction {
            Direction::In => Self::new(protocol, destination, source),
            Direction::Out => Self::new(protocol, source, destination),
        }
    }

    /// The host's port.
    #[inline(always)]
    #[must_use]
    pub const fn host_port(&self) -> u16 {
        (self.rest & 0xffff) as u16
    }

    /// The peer's port.
    #[inline(always)]
    #[must_use]
    pub const fn peer_port(&self) -> u16 {
        ((self.rest >> 16) & 0xffff) as u16
    }

    /// The IP protocol.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        ((self.rest >> 32) & 0xff) as u8
    }

    /// The key as words.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> FlowKeyWords {
        let ([a, b], [c, d]) = (self.host.to_words(), self.peer.to_words());
        [a, b, c, d, self.rest]
    }

    /// The key of these words.
    #[must_use]
    pub const fn from_words([a, b, c, d, rest]: FlowKeyWords) -> Self {
        Self { host: Address::from_words([a, b]), peer: Address::from_words([c, d]), rest }
    }

    /// Nothing known.
    #[inline(always)]
    pub(crate) fn unknown() -> Self {
        let zero = zero();
        Self {
            host: Address::from_words([zero, zero]),
            peer: Address::from_words([zero, zero]),
            rest: zero,
        }
    }
}

/// Who sent a flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This host.
    Host,
    /// The peer.
    Peer,
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// The policy that last judged it.
    pub generation: Generation,
    /// The rule that allowed it then.
    pub rule: RuleIndex,
    state: u32,
    /// The tick that it was last seen to be of.
    tick: Tick,
    /// When it was opened.
    pub opened: Nanos,
    /// When a packet last renewed it, or when it ended.
    pub seen: Nanos,
    /// What went from the host to the peer.
    pub sent: Traffic,
    /// What came from the peer.
    pub received: Traffic,
}

const _: () = assert!(size_of::<Flow>() == 64);

/// A [`Flow`] as words, as the kernel's map holds it.
pub type FlowWords = [u64; 8];

const BY_HOST: u32 = 1;
const ANSWERED: u32 = 2;
const HOST_FINISHED: u32 = 4;
const PEER_FINISHED: u32 = 8;
const RESET: u32 = 16;

impl Flow {
    /// A flow that begins now, with a packet that is not counted yet.
    #[inline(always)]
    #[must_use]
    pub fn new(generation: Generation, opener: Opener, rule: RuleIndex, now: Nanos) -> Self {
        let state = match opener {
            Opener::Host => BY_HOST,
            Opener::Peer => 0,
        };
        let nothing = Traffic { packets: zero(), bytes: zero() };
        Self {
            generation,
            rule,
            state,
            tick: Tick(0),
            opened: now,
            seen: now,
            sent: nothing,
            received: nothing,
        }
    }

    /// Nothing known, in memory that may be written over.
    #[inline(always)]
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(Generation(0), Opener::Peer, RuleIndex(0), Nanos(zero()))
    }

    /// The flow of these words.
    #[must_use]
    pub const fn from_words([policy, state, opened, seen, a, b, c, d]: FlowWords) -> Self {
        let ((generation, rule), (state, tick)) = (split(policy), split(state));
        Self {
            generation: Generation(generation),
            rule: RuleIndex(rule),
            state,
            tick: Tick(tick),
            opened: Nanos(opened),
            seen: Nanos(seen),
            sent: Traffic::from_words([a, b]),
            received: Traffic::from_words([c, d]),
        }
    }

    /// The time, which need not be read if the flow was renewed in this very tick.
    #[inline(always)]
    pub(crate) fn now(&self, clock: &impl Clock, tick: Tick) -> Nanos {
        if self.tick == tick { self.seen } else { clock.now() }
    }

    /// Notes the tick, if the flow was renewed in it.
    #[inline(always)]
    pub(crate) fn note_tick(&mut self, tick: Tick, now: Nanos) {
        if self.seen == now {
            self.tick = tick;
        }
    }

    /// Who opened it.
    #[inline(always)]
    #[must_use]
    pub const fn opener(&self) -> Opener {
        if self.state & BY_HOST != 0 { Opener::Host } else { Opener::Peer }
    }

    /// Whether the other side has sent something but a refusal.
    #[inline(always)]
    #[must_use]
    pub const fn answered(&self) -> bool {
        self.state & ANSWERED != 0
    }

    /// Whether it was reset or both sides have finished.
    #[inline(always)]
    #[must_use]
    pub const fn ended(&self) -> bool {
        const BOTH: u32 = HOST_FINISHED | PEER_FINISHED;
        self.state & RESET != 0 || self.state & BOTH == BOTH
    }

    /// What went this way.
    #[inline(always)]
    #[must_use]
    pub const fn traffic(&self, direction: Direction) -> Traffic {
        match direction {
            Direction::In => self.received,
            Direction::Out => self.sent,
        }
    }

    /// Whether it is past its lifetime.
    #[inline(always)]
    #[must_use]
    pub const fn expired(&self, ip_protocol: u8, now: Nanos) -> bool {
        self.seen.older_than(self.lifetime(ip_protocol), now)
    }

    /// How long it may stay silent and still be the same flow.
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(&self, ip_protocol: u8) -> Nanos {
        let seconds = match ip_protocol {
            protocol::TCP | protocol::SCTP if self.ended() => 10,
            // RFC 5382, REQ-5: four minutes while it opens or closes, else 2 h 4 min.
            protocol::TCP if !self.answered() || self.finishing() => 240,
            protocol::TCP => 2 * 3600 + 4 * 60,
            // RFC 4787, REQ-5: five minutes is the recommended default, for what is a flow.
            protocol::UDP if self.answered() => 300,
            protocol::UDP => 30,
            // RFC 5508, REQ-1: at least a minute.
            protocol::ICMP | protocol::ICMPV6 => 60,
            // SCTP's heartbeats are 30 s apart; for the rest nothing is written, so the same.
            protocol::SCTP if !self.answered() => 240,
            _ => 600,
        };
        Nanos::from_secs(seconds)
    }

    /// Counts a packet of it and follows what it signals. Whatever the peer sends, it cannot keep a
    /// flow of the host's alive.
    #[inline(always)]
    pub const fn note(
        &mut self,
        direction: Direction,
        signals: Signals,
        traffic: Traffic,
        now: Nanos,
    ) {
        let from_opener = self.is_opener(direction);
        let finished = match direction {
            Direction::In => {
                self.received.add(traffic);
                PEER_FINISHED
            }
            Direction::Out => {
                self.sent.add(traffic);
                HOST_FINISHED
            }
        };
        let had_ended = self.ended();
        if signals.resets() {
            self.state |= RESET;
        } else if !from_opener {
            self.state |= ANSWERED;
        }
        if signals.finishes() {
            self.state |= finished;
        }
        let renews = match direction {
            Direction::In => matches!(self.opener(), Opener::Peer),
            Direction::Out => true,
        };
        if self.ended() != had_ended || renews && !had_ended {
            self.seen = now;
        }
    }

    /// Whether what goes this way comes from the opener.
    #[inline(always)]
    #[must_use]
    pub const fn is_opener(&self, direction: Direction) -> bool {
        matches!(
            (self.opener(), direction),
            (Opener::Host, Direction::Out) | (Opener::Peer, Direction::In)
        )
    }

    const fn finishing(&self) -> bool {
        self.state & (HOST_FINISHED | PEER_FINISHED) != 0
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

/// What is remembered of a fragmented datagram: the flow that its first fragment belongs to, which
/// the later ones follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fragment {
    /// The flow.
    pub flow: FlowKey,
    /// When the first fragment passed.
    pub seen: Nanos,
}

const _: () = assert!(size_of::<Fragment>() == 48);
