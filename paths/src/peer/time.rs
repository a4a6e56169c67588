//! What the passing of time does to a peer.

use std::time::Duration;

use engine::Timestamp;
use proto::control::PathKind;

use super::{CALLED, IDLE, Peer, World};
use crate::agents::Action;
use crate::birthday::SPARES;
use crate::route::{Choice, Route, SocketId};

/// How often the way in use is pinged while there is traffic, and one by a node that relays else: no NAT
/// need be kept open for that. See `keepalive` for direct ways.
pub(super) const BUSY_PING: Duration = Duration::from_millis(250);
const QUIET_PING: Duration = Duration::from_secs(5);
/// So many pings of a quiet way that are not answered are followed by others as if it were busy, so that it is
/// left before there is traffic.
const URGENT: u32 = 4;
/// Traffic within this is traffic.
const BUSY: Duration = Duration::from_secs(3);
/// What was sent must have arrived within this, and a round trip.
pub(super) const STALL: Duration = Duration::from_millis(1500);
/// How long a way may take to answer after a host has moved, beside its round trip; and how much later than
/// another that answers.
pub(super) const DOUBT: Duration = Duration::from_millis(300);
pub(super) const LATE: Duration = Duration::from_millis(50);
pub(super) const DOUBT_PING: Duration = Duration::from_millis(50);
/// A spare socket on which the peer pings no more: longer than it may pause.
const SPARE_SILENCE: Duration = Duration::from_secs(40);

impl Peer {
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        self.active.is_some_and(|at| now - at < BUSY)
    }

    /// When it wants to be looked at, and why.
    pub(crate) fn due(&self) -> Option<(Timestamp, &'static str)> {
        let active = self.active.map(|at| at + IDLE);
        let ends = active.max(self.called.map(|at| at + CALLED))?;
        let keeps = self.choice.route().map(|_| (self.keep, "ping the way in use"));
        let all = [
            Some((ends, "idle")),
            keeps,
            self.search.at.map(|at| (at, "search")),
            self.settle.map(|at| (at, "choose")),
            self.birthday.at().map(|at| (at, "guess ports")),
            self.mtu_at().map(|at| (at, "ask how much the way carries")),
        ];
        all.into_iter().flatten().min()
    }

    /// A quiet way is not asked how much it carries.
    fn mtu_at(&self) -> Option<Timestamp> {
        let quiet = self.active? + BUSY;
        self.mtu.at().filter(|at| *at < quiet)
    }

    /// After what time the way in use is pinged again.
    fn pace(&self, route: Route, now: Timestamp) -> Duration {
        if self.doubted.is_some() {
            return DOUBT_PING;
        }
        if self.is_busy(now) {
            return BUSY_PING;
        }
        let evidence = self.candidates.get(&route).map(|known| known.evidence).unwrap_or_default();
        match evidence.unanswered {
            1..=URGENT => BUSY_PING + evidence.rtt.unwrap_or_default() * 5 / 4,
            _ if route.is_relayed() => QUIET_PING,
            _ => self.keepalive.pause(),
        }
    }

    /// A quiet way has just been of use. What is asked for already is asked for again in any case.
    pub(super) fn keep_later(&mut self, route: Route, now: Timestamp) {
        let asked = self.candidates.get(&route).is_some_and(|known| known.evidence.unanswered > 0);
        if self.doubted.is_none() && !asked && !self.is_busy(now) {
            self.keep = now + self.pace(route, now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let (candidates, book) = (&mut self.candidates, &mut self.book);
        let (used, since) = (self.choice.route(), self.since);
        book.expire(now, |route, at| {
            if let Some(evidence) = candidates.evidence(&route) {
                evidence.lost(used == Some(route) && at >= since);
            }
        });
        if !self.is_wanted(now) {
            self.fall_asleep(world);
            return;
        }
        if self.birthday.is_over(now) {
            self.end_birthday(world);
        }
        if !self.spares.is_empty() && self.birthday.spares().is_none() {
            self.close_silent_spares(SPARE_SILENCE, world);
        }
        self.choose(world);
        if let Some(route) = self.choice.route()
            && now >= self.keep
        {
            self.ping(route, world);
            self.keep = now + self.pace(route, now);
        }
        if self.mtu_at().is_some() {
            self.look_at_mtu(world);
        }
        if self.may_look(world.own) {
            self.look_for_ways(world);
        } else {
            self.search.stop();
        }
    }

    fn look_for_ways(&mut self, world: &mut World<'_>) {
        let now = world.now;
        if let Some(round) = self.search.due(world.rng, now) {
            let route = self.choice.route();
            let known = route.and_then(|route| self.candidates.get(&route));
            let may_be_direct = self.kinds(world.own).has(PathKind::Direct);
            let is_best = (self.choice.is_direct() || !may_be_direct)
                && known.is_some_and(|known| known.evidence.heard.is_some());
            if is_best {
                // There may be a better one; the peer need not be called for that.
                self.search.found(now);
            } else {
                world.counters.searches += u64::from(round.first);
                if round.call && self.is_active(now) {
                    self.call(false, world);
                }
                if round.last {
                    self.begin_birthday(world);
                }
            }
            self.ping_all(world);
        }
        for route in self.birthday.due(now) {
            self.ping_anyway(route, world);
        }
    }

    fn begin_birthday(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let both_known = !self.called_at.is_empty();
        // A host without IPv4 has other addresses for those, what the world sees first here, too.
        let v4 = self.called_at.iter().find(|at| at.is_ipv4());
        let target = v4.or(self.called_at.first()).copied();
        let Some(target) = target.filter(|_| both_known && world.own.hard != self.hard) else {
            return;
        };
        if !self.birthday.may_begin(now) || self.barred > now {
            return;
        }
        if self.hard {
            self.birthday.guess(target.ip(), world.rng, now);
        } else if world.spares.1.is_none() {
            let first = SocketId(world.spares.0);
            world.spares.0 = world.spares.0.wrapping_add(SPARES).max(1);
            world.spares.1 = Some(self.id);
            world.actions.push_back(Action::OpenSpares { peer: self.id, first, count: SPARES });
            self.birthday.send_from(first, target, now);
        } else {
            return;
        }
        world.counters.birthdays += 1;
    }

    /// No traffic: NATs may close from now on, and nothing is sent to keep them open.
    fn fall_asleep(&mut self, world: &mut World<'_>) {
        (self.active, self.called) = (None, None);
        self.search.stop();
        self.book.clear();
        self.keepalive.rest();
        if self.theirs.relay
            && self.choice.route().is_some()
            && self.kinds(world.own).has(PathKind::Relay)
        {
            self.turn_to(Choice::Relay, world);
            self.search.stop();
        }
        self.end_birthday(world);
        self.close_silent_spares(Duration::ZERO, world);
    }

    /// It is a peer no more.
    pub(crate) fn end(&mut self, world: &mut World<'_>) {
        self.choice = Choice::Nowhere;
        self.mtu.stop();
        self.end_birthday(world);
        self.close_silent_spares(Duration::ZERO, world);
    }
}
