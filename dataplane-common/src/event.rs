//! What is told of flows and denials while it happens.

use crate::{
    Direction, DropReason, Flow, FlowKey, Generation, Nanos, Opener, RuleIndex, Traffic,
    words::{join, split},
};

/// Something that became of a flow, or of a packet that was none's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Nanos,
    /// Of a denial, which way the packet went; else, which way the flow's first one did.
    pub direction: Direction,
    /// The flow. Of a packet that cannot be read: as far as it is known, with zeros for the rest.
    pub key: FlowKey,
    /// The policy that decided.
    pub generation: Generation,
    /// The rule that decided, if one did.
    pub rule: Option<RuleIndex>,
    /// When the flow was opened; of a denial, when it happened.
    pub opened: Nanos,
    /// What the host sent.
    pub sent: Traffic,
    /// What the peer sent.
    pub received: Traffic,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A flow was opened.
    Start,
    /// A flow is over.
    End(EndReason),
    /// A packet was dropped.
    Denial(DropReason),
}

/// Why a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EndReason {
    /// Both sides have finished, or one reset it.
    Closed = 1,
    /// It was silent for longer than its lifetime.
    Expired = 2,
    /// The policy now in force does not allow it.
    Revoked = 3,
}

impl EndReason {
    /// The name that JSON and logs use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// An event as it lies in the ring buffer.
pub type EventWords = [u64; 13];

const START: u32 = 1;
const END: u32 = 2;
const DENIAL: u32 = 3;
const NO_RULE: u32 = u32::MAX;

impl Event {
    /// The start or the end of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn of_flow(kind: EventKind, at: Nanos, key: &FlowKey, flow: &Flow) -> Self {
        Self {
            kind,
            at,
            direction: match flow.opener() {
                Opener::Host => Direction::Out,
                Opener::Peer => Direction::In,
            },
            key: *key,
            generation: flow.generation,
            rule: Some(flow.rule),
            opened: flow.opened,
            sent: flow.sent,
            received: flow.received,
        }
    }

    /// The event as it lies in the ring buffer.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> EventWords {
        let (kind, reason) = match self.kind {
            EventKind::Start => (START, 0),
            EventKind::End(reason) => (END, reason as u32),
            EventKind::Denial(reason) => (DENIAL, reason as u32),
        };
        let direction = match self.direction {
            Direction::In => 0,
            Direction::Out => 1,
        };
        let rule = match self.rule {
            Some(rule) => rule.0,
            None => NO_RULE,
        };
        let [a, b, c, d, e] = self.key.to_words();
        [
            join(kind | direction << 8, reason),
            join(self.generation.0, rule),
            self.at.0,
            self.opened.0,
            a,
            b,
            c,
            d,
            e,
            self.sent.packets,
            self.sent.bytes,
            self.received.packets,
            self.received.bytes,
        ]
    }

    /// The event of these words; none for words that no event has.
    #[must_use]
    pub fn from_words(words: EventWords) -> Option<Self> {
        let [head, policy, at, opened, a, b, c, d, e, sent @ .., f, g] = words;
        let (kind, reason) = split(head);
        let kind_of = match kind & 0xff {
            START => EventKind::Start,
            END => EventKind::End(match reason {
                1 => EndReason::Closed,
                2 => EndReason::Expired,
                3 => EndReason::Revoked,
                _ => return None,
            }),
            DENIAL => EventKind::Denial(
                DropReason::ALL.into_iter().find(|known| *known as u32 == reason)?,
            ),
            _ => return None,
        };
        let direction = match kind >> 8 {
            0 => Direction::In,
            1 => Direction::Out,
            _ => return None,
        };
        let (generation, rule) = split(policy);
        Some(Self {
            kind: kind_of,
            at: Nanos(at),
            direction,
            key: FlowKey::from_words([a, b, c, d, e]),
            generation: Generation(generation),
            rule: (rule != NO_RULE).then_some(RuleIndex(rule)),
            opened: Nanos(opened),
            sent: Traffic::from_words(sent),
            received: Traffic::from_words([f, g]),
        })
    }
}

/// Why an event was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Loss {
    /// The start of a flow, when there were many.
    Sampled = 0,
    /// A denial, when there were many.
    Suppressed = 1,
    /// Any, when the ring buffer was full.
    RingFull = 2,
    /// The end of a flow whose place another took.
    Displaced = 3,
}

impl Loss {
    /// Every kind, in the order of its counter.
    pub const ALL: [Self; 4] = [Self::Sampled, Self::Suppressed, Self::RingFull, Self::Displaced];

    /// The name that counters, JSON and logs use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Suppressed => "suppressed",
            Self::RingFull => "ring_full",
            Self::Displaced => "displaced",
        }
    }
}

/// How fast a CPU tells events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pace {
    /// When the denials told so far would have been over, told evenly.
    denials_until: u64,
    /// Starts that happened under pressure.
    starts: u64,
}

/// Denials that a CPU tells at once, and each second.
pub const DENIALS_PER_SECOND: u64 = 128;

/// Of so many starts of flows one is told while the ring buffer is more than half full.
pub const STARTS_PER_SAMPLE: u64 = 16;

impl Pace {
    /// Whether this is to be told, when the ring buffer is more than half full or not.
    ///
    /// # Errors
    ///
    /// Under what it counts as lost.
    #[inline(always)]
    pub fn admit(&mut self, kind: EventKind, now: Nanos, pressed: bool) -> Result<(), Loss> {
        match kind {
            EventKind::End(_) => Ok(()),
            EventKind::Start => {
                if !pressed {
                    return Ok(());
                }
                self.starts += 1;
                if self.starts % STARTS_PER_SAMPLE == 1 { Ok(()) } else { Err(Loss::Sampled) }
            }
            EventKind::Denial(_) => {
                const EACH: u64 = 1_000_000_000 / DENIALS_PER_SECOND;
                let from = if self.denials_until > now.0 { self.denials_until } else { now.0 };
                if from - now.0 > (DENIALS_PER_SECOND - 1) * EACH {
                    return Err(Loss::Suppressed);
                }
                self.denials_until = from + EACH;
                Ok(())
            }
        }
    }
}
