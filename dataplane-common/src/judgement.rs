//! What a flow, or the rules, decide for a packet.

use crate::{
    Direction, DropReason, EndReason, Event, EventKind, Extent, Flow, FlowKey, FlowTable, Fragment,
    Headers, Nanos, Opener, PacketBytes, PolicyTable, RuleIndex, Ruling, StateTable, Traffic,
    Transport, Verdict, consult, in_frame_of, in_own_frame, outcome::Outcome, parse,
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
    /// What was decided, for those who act on it.
    pub(crate) outcome: Outcome,
}

impl<B: PacketBytes + ?Sized, P: PolicyTable, S: StateTable> Judge<'_, B, P, S> {
    /// What becomes of the packet.
    #[inline(always)]
    pub(crate) fn outcome(&mut self) -> Outcome {
        let outcome = match in_frame_of(self, |judge| judge.read().map(u64::from)) {
            Some(outcome) => Outcome::from_number(outcome),
            None => self.about_flow(),
        };
        if !outcome.passes() {
            self.outcome = outcome.blurred(self.now);
            in_frame_of(self, Self::tell_denial);
        } else if self.subject.first_fragment {
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
                        self.outcome = Outcome::pass(ruling.rule(), false);
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
        let opener = flow.opener();
        consult(self.policy, &self.subject.key, opener).ruling.map(Ruling::to_number)
    }

    /// Notes that the policy in force allows the flow.
    #[inline(always)]
    fn stamp(&mut self) -> Option<u64> {
        let (flow, _) = find(self.state, &self.subject.key)?;
        flow.generation = self.policy.generation();
        flow.rule = self.outcome.rule();
        None
    }

    /// Forgets a flow that the policy in force does not allow.
    #[inline(always)]
    fn revoke(&mut self) -> Option<u64> {
        let (flow, table) = find(self.state, &self.subject.key)?;
        let flow = *flow;
        self.state.remove_flow(table, &self.subject.key);
        if !flow.ended() {
            self.tell(EventKind::End(EndReason::Revoked), &flow);
        }
        None
    }

    /// The rule of the flow that the packet is about, which may change it; none if the packet is not
    /// of the flow after all. An error about the flow leaves it as it is.
    #[inline(always)]
    fn known(&mut self) -> Option<u64> {
        let Subject { key, signals, .. } = &self.subject;
        let is_error = matches!(self.subject.transport, Transport::Error);
        let (place, table) = find(self.state, key)?;
        let had_ended = place.ended();
        let begins_anew = had_ended && !is_error && signals.opens();
        let expired = begins_anew || place.expired(key.protocol, self.now);
        if !expired {
            if is_error {
                let quoted = place.traffic(self.direction.reversed());
                return if quoted.packets == 0 { None } else { Some(place.rule.0.into()) };
            }
            place.note(self.direction, *signals, self.traffic, self.now);
        }
        let flow = *place;
        if expired {
            self.state.remove_flow(table, key);
        } else if matches!(table, FlowTable::Opening) && flow.answered() {
            self.state.store_flow(FlowTable::Answered, key, &flow);
            self.state.remove_flow(FlowTable::Opening, key);
        }
        if !had_ended && (expired || flow.ended()) {
            let reason = if expired { EndReason::Expired } else { EndReason::Closed };
            self.tell(EventKind::End(reason), &flow);
        }
        if expired { None } else { Some(flow.rule.0.into()) }
    }

    /// The outcome for a packet of no known flow.
    #[inline(always)]
    fn opened(&mut self) -> Outcome {
        let ruling = in_frame_of(self, |judge| {
            consult(judge.policy, &judge.subject.key, judge.opener()).ruling.map(Ruling::to_number)
        });
        let rule = match ruling.map(Ruling::from_number) {
            Some(ruling) if ruling.allows() => ruling.rule(),
            Some(ruling) => return Outcome::drop(DropReason::PolicyDenied, Some(ruling.rule())),
            None => return Outcome::drop(DropReason::PolicyNoRule, None),
        };
        if !self.subject.signals.opens() {
            return Outcome::drop(DropReason::PolicyNoSyn, None);
        }
        self.outcome = Outcome::pass(rule, false);
        in_frame_of(self, Self::open);
        self.outcome
    }

    #[inline(always)]
    fn open(&mut self) -> Option<u64> {
        let generation = self.policy.generation();
        let mut flow = Flow::new(generation, self.opener(), self.outcome.rule(), self.now);
        flow.note(self.direction, self.subject.signals, self.traffic, self.now);
        self.state.store_flow(FlowTable::Opening, &self.subject.key, &flow);
        self.tell(EventKind::Start, &flow);
        None
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
        let mut headers = Headers::unknown();
        parse(self.packet, 0, Extent::Whole, &mut headers).ok()?;
        in_own_frame(|| {
            let fragment = Fragment { flow: self.subject.key, seen: self.now };
            self.state.store_fragment(&headers.fragment_key(), &fragment);
            None
        })
    }

    #[inline(always)]
    fn tell(&mut self, kind: EventKind, flow: &Flow) {
        if self.state.admit(kind, self.now) {
            self.state.tell(&Event::of_flow(kind, self.now, &self.subject.key, flow));
        }
    }

    /// Tells that the packet was dropped, unless the end of its flow tells it.
    #[inline(always)]
    fn tell_denial(&mut self) -> Option<u64> {
        let Verdict::Drop { reason, rule } = self.outcome.verdict() else { return None };
        let kind = EventKind::Denial(reason);
        if matches!(reason, DropReason::PolicyRevoked) || !self.state.admit(kind, self.now) {
            return None;
        }
        let nothing = Traffic { packets: 0, bytes: 0 };
        let (sent, received) = match self.direction {
            Direction::In => (nothing, self.traffic),
            Direction::Out => (self.traffic, nothing),
        };
        self.state.tell(&Event {
            kind,
            at: self.now,
            direction: self.direction,
            key: self.subject.key,
            generation: self.policy.generation(),
            rule,
            opened: self.now,
            sent,
            received,
        });
        None
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
