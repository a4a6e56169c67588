//! Verdicts on their way through the frames of the small stack.

use crate::{DropReason, Nanos, RuleIndex, Verdict};

/// A verdict in one number: the rule, and above it whether a flow decided or
/// for which reason the packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Outcome(u64);

const NO_RULE: u64 = 0xffff_ffff;
const HIT: u64 = 1 << 32;
const DROP: u64 = 1 << 33;
const REASON_SHIFT: u32 = 40;

impl Outcome {
    /// None yet: nothing is known of the packet.
    pub(crate) const UNREAD: Self = Self(1 << 37);
    /// None yet: the packet is of no known flow.
    pub(crate) const NO_FLOW: Self = Self(1 << 36);
    /// None yet: the flow changes.
    pub(crate) const UNSTEADY: Self = Self(1 << 34);
    /// None yet: another policy judged the flow.
    pub(crate) const STALE: Self = Self(1 << 35);

    #[inline(always)]
    pub(crate) const fn pass(rule: RuleIndex, hit: bool) -> Self {
        Self(rule.0 as u64 | if hit { HIT } else { 0 })
    }

    #[inline(always)]
    pub(crate) const fn drop(reason: DropReason, rule: Option<RuleIndex>) -> Self {
        let rule = match rule {
            Some(rule) => rule.0 as u64,
            None => NO_RULE,
        };
        Self((reason as u64) << REASON_SHIFT | DROP | rule)
    }

    #[inline(always)]
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    #[inline(always)]
    pub(crate) const fn passes(self) -> bool {
        self.0 & DROP == 0
    }

    /// Whether a flow decides.
    #[inline(always)]
    pub(crate) const fn is_hit(self) -> bool {
        self.0 & HIT != 0
    }

    /// The same, but for a verifier that cannot know the time. That of Linux 6.1 takes a reason that
    /// it knows for the one with which it saw a frame before, and cuts off the code for others.
    #[inline(always)]
    pub(crate) const fn blurred(self, now: Nanos) -> Self {
        let zero = (now.0 >> 63) * 0xff;
        Self(self.0 ^ zero << REASON_SHIFT)
    }

    /// The rule of one that passes.
    #[inline(always)]
    pub(crate) const fn rule(self) -> RuleIndex {
        RuleIndex((self.0 & 0xffff_ffff) as u32)
    }

    #[inline(always)]
    pub(crate) const fn verdict(self) -> Verdict {
        if self.passes() {
            return Verdict::Allow { rule: self.rule(), flow_hit: self.0 & HIT != 0 };
        }
        let reason = DropReason::of_policy(((self.0 >> REASON_SHIFT) & 0xff) as u32);
        let rule = if self.0 & NO_RULE == NO_RULE { None } else { Some(self.rule()) };
        Verdict::Drop { reason, rule }
    }
}

impl From<Outcome> for u64 {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        outcome.0
    }
}
