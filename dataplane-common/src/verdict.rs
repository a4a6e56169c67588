//! The verdict over one packet.

use crate::{
    Direction, DropReason, FlowTable, Nanos, PacketBytes, PolicyTable, RuleIndex, StateTable,
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
pub fn verdict<B, P, S>(
    packet: &B,
    traffic: Traffic,
    direction: Direction,
    now: Nanos,
    policy: &P,
    state: &mut S,
) -> Verdict
where
    B: PacketBytes + ?Sized,
    P: PolicyTable,
    S: StateTable,
{
    let mut judge = Judge {
        packet,
        direction,
        now,
        traffic,
        policy,
        state,
        subject: Subject::unknown(),
        outcome: Outcome::UNREAD,
    };
    if judge.subject.glance(packet, direction).is_some() {
        judge.outcome = Outcome::NO_FLOW;
        // The commonest packets get no further than this.
        if let Some(flow) = judge.state.flow(FlowTable::Answered, &judge.subject.key) {
            let in_force = policy.generation();
            let standing = judge.subject.standing(flow, true, direction, now, traffic, in_force);
            if standing.is_hit() {
                return standing.verdict();
            }
        }
    }
    judge.outcome().verdict()
}
