//! The verdict over one packet.

use crate::{
    Clock, Direction, DropReason, FlowTable, PacketBytes, PolicyTable, RuleIndex, StateTable,
    Traffic, judgement::Judge, outcome::Outcome, subject::Subject,
};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow {
        /// The rule that allowed its flow.
        rule: RuleIndex,
        /// Whether a remembered flow decided, without a look at the rules.
        flow_hit: bool,
    },
    /// It goes no further.
    Drop {
        /// Why.
        reason: DropReason,
        /// The rule that denies it.
        rule: Option<RuleIndex>,
    },
}

/// Judges one packet, which counts for so much traffic, and remembers what later packets depend on.
///
/// Both directions are judged by the same rules: what opens a flow is looked up with its sender as
/// the source, and what belongs to a flow passes. A flow that another policy allowed is looked up
/// again, as its opener's; if it is not allowed any more, it ends.
#[inline(always)]
pub fn verdict<B, P, S, C>(
    packet: &B,
    traffic: Traffic,
    direction: Direction,
    clock: &C,
    policy: &P,
    state: &mut S,
) -> Verdict
where
    B: PacketBytes + ?Sized,
    P: PolicyTable,
    S: StateTable,
    C: Clock,
{
    let glanced = Subject::glance(packet, direction);
    if let Some(subject) = &glanced
        && let Some(flow) = state.flow(FlowTable::Answered, &subject.key)
    {
        // The commonest packets get no further than this.
        let tick = clock.tick();
        let now = flow.now(clock, tick);
        let standing = subject.standing(flow, true, direction, now, traffic, policy.generation());
        if standing.is_hit() {
            flow.note_tick(tick, now);
            return standing.verdict();
        }
    }
    let now = clock.now();
    let outcome = if glanced.is_some() { Outcome::NO_FLOW } else { Outcome::UNREAD };
    let subject = match glanced {
        Some(subject) => subject,
        None => Subject::unknown(),
    };
    let mut judge = Judge { packet, direction, now, traffic, policy, state, subject, outcome };
    judge.outcome().verdict()
}
