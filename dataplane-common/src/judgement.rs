//! What a flow, or the rules, decide for a packet.

use crate::{
    Class, Direction, DropReason, Extent, Flow, FlowKey, FlowTable, Fragment, Headers, Identity,
    Nanos, Opener, PacketBytes, PolicyTable, RuleIndex, RuleKey, Ruling, StateTable, Traffic,
    Transport, Verdict, class, identity, in_frame_of, in_own_frame, parse, ruling,
    subject::Subject,
};

/// All that a judgement needs. One value, because each frame of the small stack then needs but one
/// pointer to it.
pub(crate) struct Judge<'a, B: ?Sized, P, S> {
    pub(crate) packet: &'a B,
    pub(crate) direction: Direction,
    pub(crate) now: Nanos,
    pub(crate) traffic: Traffic,
    pub(crate) policy: &'a P,
    pub(crate) state: &'a mut S,
    pub(crate) subject: Subject,
    /// The rule that allows the packet, once it is known.
    pub(crate) rule: RuleIndex,
}

impl<B: PacketBytes + ?Sized, P: PolicyTable, S: StateTable> Judge<'_, B, P, S> {
    /// What becomes of the packet.
    #[inline(always)]
    pub(crate) fn outcome(&mut self) -> Outcome {
        let outcome = match in_frame_of(self, |judge| judge.read().map(u64::from)) {
            Some(outcome) => Outcome::from_number(outcome),
            None => self.about_flow(),
        };
        if self.subject.first_fragment && outcome.passes() {
            in_frame_of(self, Self::remember_fragment);
        }
        outcome
    }

    #[inline(always)]
    fn about_flow(&mut self) -> Outcome {
        let Some(standing) = in_frame_of(self, |judge| judge.steady().map(u64::from)) else {
            return self.about_none();
        };
        let mut hit = true;
        match Outcome::from_number(standing) {
            Outcome::STALE => {
                let ruling = in_frame_of(self, Self::rule_again);
                hit = false;
                match ruling.map(Ruling::from_number) {
                    Some(ruling) if ruling.allows() => {
                        self.rule = ruling.rule();
                        in_frame_of(self, Self::stamp);
                    }
                    denial => {
                        in_frame_of(self, Self::revoke);
                        let reason = DropReason::PolicyRevoked;
                        return Outcome::drop(reason, denial.map(Ruling::rule));
                    }
                }
            }
            Outcome::UNSTEADY => {}
            outcome => return outcome,
        }
        match in_frame_of(self, Self::known) {
            Some(rule) => Outcome::pass(RuleIndex((rule & 0xffff_ffff) as u32), hit),
            None => self.about_none(),
        }
    }

    /// The outcome for a packet about no known flow.
    #[inline(always)]
    fn about_none(&mut self) -> Outcome {
        match self.subject.transport {
            Transport::Ports => self.opened(),
            Transport::Error => Outcome::drop(DropReason::PolicyUnrelatedError, None),
            Transport::LaterFragment => Outcome::drop(DropReason::PolicyFragment, None),
        }
    }

    /// Reads what the packet is about; the outcome, if that cannot be known.
    #[inline(always)]
    fn read(&mut self) -> Option<Outcome> {
        let read = self.subject.read(self.packet, self.direction, self.now, self.state);
        read.err().map(|reason| Outcome::drop(reason, None))
    }

    /// The outcome for a packet that changes nothing of its flow but the counters, or what to do
    /// about the flow; none if there is none.
    #[inline(always)]
    fn steady(&mut self) -> Option<Outcome> {
        let Subject { key, signals, .. } = &self.subject;
        let own = matches!(self.subject.transport, Transport::Ports);
        let (flow, answered) = match self.state.flow(FlowTable::Answered, key) {
            Some(flow) => (flow, true),
            None => (self.state.flow(FlowTable::Opening, key)?, false),
        };
        let begins_anew = own && flow.ended() && signals.opens();
        if begins_anew || flow.expired(key.protocol, self.now) {
            return Some(Outcome::UNSTEADY);
        }
        if !flow.generation.covers(self.policy.generation()) {
            return Some(Outcome::STALE);
        }
        let answers = !answered && !flow.is_opener(self.direction);
        if !own || answers || signals.finishes() || signals.resets() {
            return Some(Outcome::UNSTEADY);
        }
        flow.note(self.direction, *signals, self.traffic, self.now);
        Some(Outcome::pass(flow.rule, true))
    }

    /// What the policy in force says of a flow that another one allowed.
    #[inline(always)]
    fn rule_again(&mut self) -> Option<u64> {
        let (flow, _) = find(self.state, &self.subject.key)?;
        rule_on(self.policy, &self.subject.key, flow.opener())
    }

    /// Notes that the policy in force allows the flow.
    #[inline(always)]
    fn stamp(&mut self) -> Option<u64> {
        let (flow, _) = find(self.state, &self.subject.key)?;
        flow.generation = self.policy.generation();
        flow.rule = self.rule;
        None
    }

    /// Forgets a flow that the policy in force does not allow.
    #[inline(always)]
    fn revoke(&mut self) -> Option<u64> {
        let (_, table) = find(self.state, &self.subject.key)?;
        self.state.remove_flow(table, &self.subject.key);
        None
    }

    /// The rule of the flow that the packet is about, which may change it; none if the packet is not
    /// of the flow after all. An error about the flow leaves it as it is.
    #[inline(always)]
    fn known(&mut self) -> Option<u64> {
        let Subject { key, signals, .. } = &self.subject;
        let is_error = matches!(self.subject.transport, Transport::Error);
        let (flow, table) = find(self.state, key)?;
        let begins_anew = flow.ended() && !is_error && signals.opens();
        if begins_anew || flow.expired(key.protocol, self.now) {
            self.state.remove_flow(table, key);
            return None;
        }
        if is_error {
            let quoted = flow.traffic(self.direction.reversed());
            return if quoted.packets == 0 { None } else { Some(flow.rule.0.into()) };
        }
        flow.note(self.direction, *signals, self.traffic, self.now);
        let rule = flow.rule.0.into();
        if matches!(table, FlowTable::Opening) && flow.answered() {
            let flow = *flow;
            self.state.store_flow(FlowTable::Answered, key, &flow);
            self.state.remove_flow(FlowTable::Opening, key);
        }
        Some(rule)
    }

    /// The outcome for a packet of no known flow.
    #[inline(always)]
    fn opened(&mut self) -> Outcome {
        let ruling =
            in_frame_of(self, |judge| rule_on(judge.policy, &judge.subject.key, judge.opener()));
        let rule = match ruling.map(Ruling::from_number) {
            Some(ruling) if ruling.allows() => ruling.rule(),
            Some(ruling) => return Outcome::drop(DropReason::PolicyDenied, Some(ruling.rule())),
            None => return Outcome::drop(DropReason::PolicyNoRule, None),
        };
        if !self.subject.signals.opens() {
            return Outcome::drop(DropReason::PolicyNoSyn, None);
        }
        self.rule = rule;
        in_frame_of(self, |judge| {
            let generation = judge.policy.generation();
            let mut flow = Flow::new(generation, judge.opener(), judge.rule, judge.now);
            flow.note(judge.direction, judge.subject.signals, judge.traffic, judge.now);
            judge.state.store_flow(FlowTable::Opening, &judge.subject.key, &flow);
            None
        });
        Outcome::pass(rule, false)
    }

    /// Who opens a flow with the packet.
    #[inline(always)]
    fn opener(&self) -> Opener {
        match self.direction {
            Direction::In => Opener::Peer,
            Direction::Out => Opener::Host,
        }
    }

    #[inline(always)]
    fn remember_fragment(&mut self) -> Option<u64> {
        // Read once more, rarely, rather than kept on the stack for every packet.
        let mut headers = Headers::EMPTY;
        parse(self.packet, 0, Extent::Whole, &mut headers).ok()?;
        in_own_frame(|| {
            let fragment = Fragment { flow: self.subject.key, seen: self.now };
            self.state.store_fragment(&headers.fragment_key(), &fragment);
            None
        })
    }
}

#[inline(always)]
fn find<'a, S: StateTable>(state: &'a mut S, key: &FlowKey) -> Option<(&'a mut Flow, FlowTable)> {
    let table = match state.flow(FlowTable::Answered, key) {
        Some(_) => FlowTable::Answered,
        None => FlowTable::Opening,
    };
    state.flow(table, key).map(|flow| (flow, table))
}

/// What the rules say of a flow that one side opened, as a number.
#[inline(always)]
fn rule_on<P: PolicyTable>(policy: &P, key: &FlowKey, opener: Opener) -> Option<u64> {
    let (source, destination, port) = match opener {
        Opener::Host => (&key.host, &key.peer, key.peer_port),
        Opener::Peer => (&key.peer, &key.host, key.host_port),
    };
    let identity = identity(policy, source);
    if identity == Identity::NONE {
        return None;
    }
    let class = class(policy, destination);
    if class == Class::NONE {
        return None;
    }
    let key = RuleKey { identity, class, protocol: key.protocol, port };
    ruling(policy, &key).map(Ruling::to_number)
}

/// A verdict in one number, for [`in_own_frame`]: the rule, and above it whether a flow decided or
/// for which reason the packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Outcome(u64);

const NO_RULE: u64 = 0xffff_ffff;
const HIT: u64 = 1 << 32;
const DROP: u64 = 1 << 33;
const REASON_SHIFT: u32 = 40;

impl Outcome {
    /// None yet: the flow changes.
    const UNSTEADY: Self = Self(1 << 34);
    /// None yet: another policy judged the flow.
    const STALE: Self = Self(1 << 35);

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

    #[inline(always)]
    pub(crate) const fn verdict(self) -> Verdict {
        let rule = RuleIndex((self.0 & 0xffff_ffff) as u32);
        if self.passes() {
            return Verdict::Allow { rule, flow_hit: self.0 & HIT != 0 };
        }
        let reason = DropReason::of_policy(((self.0 >> REASON_SHIFT) & 0xff) as u32);
        let rule = if self.0 & NO_RULE == NO_RULE { None } else { Some(rule) };
        Verdict::Drop { reason, rule }
    }
}

impl From<Outcome> for u64 {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        outcome.0
    }
}
