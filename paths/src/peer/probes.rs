//! What a peer's probes do.

use std::net::SocketAddr;

use proto::control::PathKind;
use proto::probe::{Call, PingId, Pong, Probe, Received};

use super::time::STALL;
use super::{Own, Peer, SEEN_PINGS, World};
use crate::agents::Action;
use crate::candidates::{Origin, is_sensible};
use crate::evidence::Evidence;
use crate::refusal::Refusal;
use crate::route::{Choice, Route, SocketId, Via};
use crate::select::FRESH;

impl Peer {
    pub(crate) fn handle(
        &mut self,
        via: Via,
        probe: &Probe,
        world: &mut World<'_>,
    ) -> Result<(), Refusal> {
        let allowed = match via {
            Via::Direct(route) => self.kinds(world.own).has(route.kind()),
            // A call is about other ways than the one that it comes by.
            Via::Relay => self.may_look(world.own),
        };
        if !allowed {
            return Err(Refusal::Forbidden);
        }
        match (via, probe) {
            (Via::Direct(route), Probe::Ping { id, .. }) => self.take_ping(route, *id, world),
            (Via::Direct(route), Probe::Pong(pong)) => self.take_pong(route, pong, world),
            (Via::Relay, Probe::Call(call)) => self.take_call(call, world),
            _ => Err(Refusal::WrongWay),
        }
    }

    fn take_ping(
        &mut self,
        route: Route,
        id: PingId,
        world: &mut World<'_>,
    ) -> Result<(), Refusal> {
        if self.pings.contains(&id) {
            return Err(Refusal::Replayed);
        }
        if !self.answers.take(world.now) {
            return Err(Refusal::TooMany);
        }
        if self.pings.len() >= SEEN_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back(id);
        self.heard_on(route.socket, world.now);
        let seen = route.to;
        let received = self.observed.messages;
        self.send(Via::Direct(route), Probe::Pong(Pong { id, seen, received }), world);
        if self.keeps_open(route) {
            self.keepalive.touch(world.now);
            self.keep_later(route, world.now);
        }
        // The way is open from there: that it is from here, too, is seen at once.
        if self.is_wanted(world.now) && !self.is_unknown_relay(route) {
            self.candidates.add(route, Origin::Seen, self.choice.route(), world.now);
            let known = self.candidates.get(&route);
            if known.is_some_and(|known| known.evidence.heard.is_none()) {
                self.doubt(route, world);
            }
            // The one in use is asked at its own pace while it answers.
            let kept = self.choice == Choice::Direct(route);
            let is_known = |evidence: &Evidence| {
                evidence.is_fresh(FRESH, world.now) || kept && evidence.unanswered <= 1
            };
            if self.candidates.get(&route).is_some_and(|known| !is_known(&known.evidence)) {
                self.ping(route, world);
            }
        }
        Ok(())
    }

    /// Whether it leads by a node that does not relay for us any more, or does not yet.
    fn is_unknown_relay(&self, route: Route) -> bool {
        route.is_relayed() && self.candidates.get(&route).is_none()
    }

    fn take_pong(&mut self, via: Route, pong: &Pong, world: &mut World<'_>) -> Result<(), Refusal> {
        if self.take_length(pong.id, Via::Direct(via), world) {
            return Ok(());
        }
        let (route, at) = self.book.answered(pong.id).ok_or(Refusal::Unasked)?;
        if route != via {
            return Err(Refusal::Elsewhere);
        }
        self.heard_on(route.socket, world.now);
        if self.is_unknown_relay(route) {
            return Err(Refusal::Elsewhere);
        }
        self.candidates.add(route, Origin::Guessed, self.choice.route(), world.now);
        let used = self.choice.route() == Some(route);
        if let Some(evidence) = self.candidates.evidence(&route) {
            evidence.answered(world.now - at, used && at >= self.since, world.now);
        }
        if !route.is_relayed() {
            if used {
                self.keepalive.answered(route, at, pong.seen, world.now);
            } else {
                self.keepalive.answers(route.to.ip(), world.now);
            }
        }
        if used {
            self.doubted = self.doubted.filter(|since| at < *since);
            if pong.received.arrived != self.arrived {
                self.stalled = None;
            }
            self.loss.take(pong.received, world.now);
            self.keep_later(route, world.now);
        }
        let before = std::mem::replace(&mut self.arrived, pong.received.arrived);
        // It was started anew, if not long ago: else that would show only when nothing of the tunnel
        // has come for fifteen seconds.
        let in_vain = self.stalled.is_some_and(|since| world.now - since > STALL);
        let knows_none = pong.received == Received::default() && (before > 0 || in_vain);
        if knows_none && used && route.socket == SocketId::MAIN {
            self.stalled = None;
            world.actions.push_back(Action::Renew { peer: self.id, at: route.to });
        }
        self.choose(world);
        Ok(())
    }

    fn take_call(&mut self, call: &Call, world: &mut World<'_>) -> Result<(), Refusal> {
        if !self.calls.take(world.now) {
            return Err(Refusal::TooMany);
        }
        let (own, may) = (world.own, self.kinds(world.own).has(PathKind::Direct));
        let is_sensible = |at: &SocketAddr| may && is_sensible(*at, &own.inside);
        let named: Vec<_> = call.at.iter().copied().filter(is_sensible).collect();
        let mapped: Vec<_> = call.mapped.into_iter().filter(is_sensible).collect();
        let used = self.choice.route();
        self.candidates.name(Origin::Called, &named, used, world.now);
        self.candidates.name(Origin::Mapped, &mapped, used, world.now);
        (self.hard, self.called_at) = (call.hard, named);
        self.called = Some(world.now);
        self.keepalive.lives(world.now);
        if self.choice == Choice::Relay {
            // What asked it for a session may have come to the relay before the peer did.
            world.actions.push_back(Action::Greet { peer: self.id });
        }
        if !self.choice.is_direct() {
            self.search.join(world.now);
        }
        if !call.answers {
            self.call(true, world);
        }
        self.ping_all(world);
        Ok(())
    }

    pub(super) fn call(&self, answers: bool, world: &mut World<'_>) {
        if self.theirs.relay {
            world.counters.calls += 1;
            let Own { at, mapped, hard, .. } = world.own;
            // Who may not send here directly is not told where this is.
            let call = match self.kinds(world.own).has(PathKind::Direct) {
                true => Call { hard: *hard, answers, at: at.clone(), mapped: *mapped },
                false => Call { answers, ..Call::default() },
            };
            self.send(Via::Relay, Probe::Call(call), world);
        }
    }
}
