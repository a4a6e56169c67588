//! What a flow, or the rules, decide for a packet.

use crate::{
    Direction, DropReason, EndReason, Event, EventKind, Extent, FRAGMENT_LIFETIME, Flow, FlowTable,
    Fragment, Headers, Nanos, Opener, PacketBytes, PolicyTable, RuleIndex, Ruling, StateTable,
    Traffic, Transport, Verdict, consult, in_frame_of, in_own_frame, lookup::source_key,
    outcome::Outcome, parse, subject::Subject,
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

/// The flow is none any more.
const EXPIRES: u64 = 1 << 32;
/// The packet closes the flow.
const CLOSES: u64 = 1 << 33;
/// It is the flow's first answer.
const ANSWERS: u64 = 1 << 34;

impl<B: PacketBytes + ?Sized, P: PolicyTable, S: StateTable> Judge<'_, B, P, S> {
    /// What becomes of the packet.
    #[inline(always)]
    pub(crate) fn outcome(&mut self) -> Outcome {
        let unread = self.outcome == Outcome::UNREAD;
        let refused = if unread { self.read() } else { None };
        if self.subject.signals.opens() {
            // A new flow, likely: while tables of flows are looked into, this comes from memory.
            self.policy.fetch(&source_key(&self.subject.key, self.opener()));
        }
        let standing = refused.or_else(|| in_frame_of(self, Self::stand));
        let standing = standing.map_or(Outcome::NO_FLOW, Outcome::from_number);
        let outcome = self.about_flow(standing);
        if !outcome.passes() {
            self.outcome = outcome.blurred(self.now);
            in_frame_of(self, Self::tell_denial);
        } else if self.subject.first_fragment {
            in_frame_of(self, Self::remember_fragment);
        }
        outcome
    }

    #[inline(always)]
    fn about_flow(&mut self, standing: Outcome) -> Outcome {
        let mut hit = true;
        match standing {
            Outcome::NO_FLOW => return self.about_none(),
            Outcome::STALE => {
                let ruling = in_frame_of(self, Self::rule_again);
                hit = false;
                match ruling.map(Ruling::from_number) {
                    Some(ruling) if ruling.allows() => {
                        self.outcome = Outcome::pass(ruling.rule(), false);
                        in_frame_of(self, Self::stamp);
                    }
                    denial => {
                        in_frame_of(self, |judge| judge.tell_end(EndReason::Revoked));
                        in_frame_of(self, Self::forget);
                        let reason = DropReason::PolicyRevoked;
                        return Outcome::drop(reason, denial.map(Ruling::rule));
                    }
                }
            }
            Outcome::UNSTEADY => {}
            outcome => return outcome,
        }
        let Some(known) = in_frame_of(self, Self::known) else { return self.about_none() };
        if known & EXPIRES != 0 {
            in_frame_of(self, |judge| judge.tell_end(EndReason::Expired));
            in_frame_of(self, Self::forget);
            return self.about_none();
        }
        if known & CLOSES != 0 {
            in_frame_of(self, |judge| judge.tell_end(EndReason::Closed));
        }
        if known & ANSWERS != 0 {
            in_frame_of(self, Self::promote);
        }
        Outcome::pass(RuleIndex((known & 0xffff_ffff) as u32), hit)
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
    fn read(&mut self) -> Option<u64> {
        let refused = in_frame_of(self, |judge| {
            let read = judge.subject.read(judge.packet, judge.direction);
            read.err().map(|reason| Outcome::drop(reason, None).into())
        });
        if refused.is_none() && matches!(self.subject.transport, Transport::LaterFragment) {
            return in_frame_of(self, Self::first_of);
        }
        refused
    }

    /// A later fragment is about the flow of the first; the outcome, if that is not known.
    #[inline(always)]
    fn first_of(&mut self) -> Option<u64> {
        // Read once more, rarely, as in `remember_fragment`.
        let mut headers = Headers::unknown();
        let known = parse(self.packet, 0, Extent::Whole, &mut headers).ok().and_then(|()| {
            in_own_frame(|| {
                let first = self.state.fragment(&headers.fragment_key())?;
                if first.seen.older_than(FRAGMENT_LIFETIME, self.now) {
                    return None;
                }
                self.subject.key = first.flow;
                Some(0)
            })
        });
        match known {
            Some(_) => None,
            None => Some(Outcome::drop(DropReason::PolicyFragment, None).into()),
        }
    }

    /// How it stands with the packet's flow, if there is one.
    #[inline(always)]
    fn stand(&mut self) -> Option<u64> {
        let Self { direction, now, traffic, .. } = *self;
        let mut flow = Flow::unknown();
        let table = self.state.recall(&self.subject.key, &mut flow)?;
        let (answered, in_force) = (table == FlowTable::Answered, self.policy.generation());
        let standing =
            self.subject.standing(&mut flow, answered, direction, now, traffic, in_force);
        if standing.is_hit() {
            self.state.store_flow(table, &self.subject.key, &flow);
        }
        Some(standing.into())
    }

    /// What the policy in force says of a flow that another one allowed.
    #[inline(always)]
    fn rule_again(&mut self) -> Option<u64> {
        let mut flow = Flow::unknown();
        self.state.recall(&self.subject.key, &mut flow)?;
        let ruling = consult(self.policy, &self.subject.key, flow.opener()).ruling?;
        self.policy.count(ruling.rule(), self.traffic);
        Some(ruling.to_number())
    }

    /// Notes that the policy in force allows the flow.
    #[inline(always)]
    fn stamp(&mut self) -> Option<u64> {
        let mut flow = Flow::unknown();
        let table = self.state.recall(&self.subject.key, &mut flow)?;
        flow.generation = self.policy.generation();
        flow.rule = self.outcome.rule();
        self.state.store_flow(table, &self.subject.key, &flow);
        None
    }

    /// The rule of the flow that the packet is about, which it may change, and what follows from that;
    /// none if the flow is gone meanwhile. An error about the flow leaves it as it is.
    #[inline(always)]
    fn known(&mut self) -> Option<u64> {
        let Subject { key, signals, .. } = &self.subject;
        let is_error = matches!(self.subject.transport, Transport::Error);
        let mut flow = Flow::unknown();
        let table = self.state.recall(key, &mut flow)?;
        let had_ended = flow.ended();
        let begins_anew = had_ended && !is_error && signals.opens();
        if begins_anew || flow.expired(key.protocol(), self.now) {
            return Some(EXPIRES);
        }
        let rule = u64::from(flow.rule.0);
        if is_error {
            return Some(rule);
        }
        flow.note(self.direction, *signals, self.traffic, self.now);
        self.state.store_flow(table, key, &flow);
        let closes = if !had_ended && flow.ended() { CLOSES } else { 0 };
        let answers = matches!(table, FlowTable::Opening) && flow.answered();
        Some(rule | closes | if answers { ANSWERS } else { 0 })
    }

    /// Puts a flow that was answered among those that were.
    #[inline(always)]
    fn promote(&mut self) -> Option<u64> {
        let mut flow = Flow::unknown();
        let table = self.state.recall(&self.subject.key, &mut flow)?;
        self.state.store_flow(FlowTable::Answered, &self.subject.key, &flow);
        self.state.remove_flow(table, &self.subject.key);
        None
    }

    /// Forgets the packet's flow.
    #[inline(always)]
    fn forget(&mut self) -> Option<u64> {
        self.state.remove_flow(FlowTable::Answered, &self.subject.key);
        self.state.remove_flow(FlowTable::Opening, &self.subject.key);
        None
    }

    /// Tells that the packet's flow ends, unless it was told before.
    #[inline(always)]
    fn tell_end(&mut self, reason: EndReason) -> Option<u64> {
        let mut flow = Flow::unknown();
        self.state.recall(&self.subject.key, &mut flow)?;
        if matches!(reason, EndReason::Closed) || !flow.ended() {
            self.tell(EventKind::End(reason), &flow);
        }
        None
    }

    /// The outcome for a packet of no known flow.
    #[inline(always)]
    fn opened(&mut self) -> Outcome {
        let ruling = in_frame_of(self, |judge| {
            let ruling = consult(judge.policy, &judge.subject.key, judge.opener()).ruling?;
            // Before the flow is stored, so that the memory of both is fetched at once.
            if !ruling.allows() || judge.subject.signals.opens() {
                judge.policy.count(ruling.rule(), judge.traffic);
            }
            Some(ruling.to_number())
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
        in_frame_of(self, Self::tell_start);
        self.outcome
    }

    #[inline(always)]
    fn open(&mut self) -> Option<u64> {
        let flow = self.new_flow();
        self.state.store_flow(FlowTable::Opening, &self.subject.key, &flow);
        None
    }

    #[inline(always)]
    fn tell_start(&mut self) -> Option<u64> {
        let flow = self.new_flow();
        self.tell(EventKind::Start, &flow);
        None
    }

    /// The flow that the packet opens.
    #[inline(always)]
    fn new_flow(&self) -> Flow {
        let generation = self.policy.generation();
        let mut flow = Flow::new(generation, self.opener(), self.outcome.rule(), self.now);
        flow.note(self.direction, self.subject.signals, self.traffic, self.now);
        flow
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
