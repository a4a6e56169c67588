//! The choice made true.

use std::time::Duration;

use engine::Timestamp;
use proto::control::PathKind;

use super::{Peer, World};
use crate::agents::Action;
use crate::birthday::SPARES;
use crate::evidence::Fault;
use crate::route::{Choice, Route, SocketId};
use crate::select::{Standing, Verdict, select};

/// How long the first answer waits for others, which may be better.
const SETTLE: Duration = Duration::from_millis(30);
/// Ways that had to be left within this of each other count together.
const TOGETHER: Duration = Duration::from_secs(300);
/// From this many on no direct way is taken for a while: the ways change, the trouble stays.
const TOO_MANY_LEFT: u32 = 3;
const BAR: Duration = Duration::from_secs(60);
const LONGEST_BAR: Duration = Duration::from_secs(3600);

impl Peer {
    pub(crate) fn choose(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let standing = Standing {
            current: self.choice,
            since: self.since,
            relay: self.theirs.relay,
            kinds: self.kinds(world.own),
            fault: self.tunnel_fault(now),
            guess: self.guess(world),
            barred: self.barred,
        };
        let Verdict { choice, fault } = select(&standing, self.candidates.ways(), now);
        if let Some((route, fault)) = self.choice.route().zip(fault) {
            let fault = self.lapse(route, fault);
            if let Some(evidence) = self.candidates.evidence(&route) {
                evidence.blame(fault, now);
            }
            if fault != Fault::Moved && !route.is_relayed() {
                self.leave(fault, now);
            }
        }
        if choice == self.choice {
            self.settle = None;
            return;
        }
        let arrives = self.choice.route().is_none();
        if arrives && choice.route().is_some() && self.theirs.relay {
            match self.settle {
                None => return self.settle = Some(now + SETTLE),
                Some(at) if now < at => return,
                Some(_) => {}
            }
        }
        self.turn_to(choice, world);
    }

    /// What is wrong with a way that is left, if its silence is taken into account.
    fn lapse(&mut self, route: Route, fault: Fault) -> Fault {
        let silent = matches!(fault, Fault::Died | Fault::Moved) && !route.is_relayed();
        let in_doubt = silent && self.keepalive.is_in_doubt();
        if silent {
            self.keepalive.leave();
        }
        if in_doubt && fault == Fault::Died { Fault::Lapsed } else { fault }
    }

    /// Where the peer may be, though it has not answered there.
    fn guess(&self, world: &World<'_>) -> Option<Route> {
        let mut routes = self.candidates.iter().map(|(route, _)| route);
        let may = self.kinds(world.own).has(PathKind::Direct);
        routes.find(|route| may && !route.is_relayed())
    }

    /// A direct way had to be left.
    fn leave(&mut self, fault: Fault, now: Timestamp) {
        if fault == Fault::Lapsed {
            return self.search.begin(now);
        }
        if now - self.left_at > TOGETHER.max(self.barred - self.left_at) {
            self.left = 0;
        }
        self.left = (self.left + 1).min(16);
        self.left_at = now;
        if self.left >= TOO_MANY_LEFT {
            self.barred = now + (BAR * (1 << (self.left - TOO_MANY_LEFT))).min(LONGEST_BAR);
        }
        if fault == Fault::Died {
            self.search.begin(now);
        }
    }

    pub(super) fn turn_to(&mut self, choice: Choice, world: &mut World<'_>) {
        let now = world.now;
        (self.choice, self.since) = (choice, now);
        (self.settle, self.stalled, self.doubted) = (None, None, None);
        self.loss.restart();
        self.changes = self.changes.saturating_add(1);
        world.counters.changes += 1;
        if let Some(route) = choice.route() {
            self.keep = now;
            if let Some(evidence) = self.candidates.evidence(&route) {
                evidence.take();
            }
            let proven = self.candidates.get(&route).filter(|known| known.evidence.heard.is_some());
            if let Some(known) = proven {
                world.counters.found[known.origin as usize] += 1;
                // By a node that relays, a direct way is looked for as by any relay.
                if choice.is_direct() {
                    self.search.found(now);
                    self.birthday.succeeded();
                }
            }
        }
        if choice.is_direct() {
            self.end_birthday(world);
        }
        if let Some(route) = choice.route().filter(|route| !route.is_relayed()) {
            self.keepalive.begin(route.to.ip(), now);
        }
        world.actions.push_back(Action::Use { peer: self.id, choice });
        self.begin_mtu(world);
    }

    /// A spare socket is of use: it was heard on.
    pub(super) fn heard_on(&mut self, socket: SocketId, now: Timestamp) {
        let running = self.birthday.spares();
        let is_new = running.is_some_and(|first| socket.0.wrapping_sub(first.0) < SPARES);
        if is_new || self.spares.contains_key(&socket) {
            self.spares.insert(socket, now);
        }
    }

    /// Closes the spare sockets that were not heard on. Of those that were, the peer may use another
    /// than this node does.
    pub(super) fn end_birthday(&mut self, world: &mut World<'_>) {
        if let Some(first) = self.birthday.spares() {
            let except = self.spares.keys().copied().collect();
            world.actions.push_back(Action::CloseSpares { first, count: SPARES, except });
            self.forget_spares();
            world.spares.1 = None;
        }
        self.birthday.stop();
    }

    /// Closes those that were heard on once and are silent.
    pub(super) fn close_silent_spares(&mut self, most: Duration, world: &mut World<'_>) {
        let used = self.choice.route().map(|route| route.socket);
        let now = world.now;
        self.spares.retain(|socket, heard| {
            let stays = now - *heard < most || used == Some(*socket);
            if !stays {
                let (first, except) = (*socket, Vec::new());
                world.actions.push_back(Action::CloseSpares { first, count: 1, except });
            }
            stays
        });
        self.forget_spares();
    }

    fn forget_spares(&mut self) {
        let open =
            |socket: &SocketId| *socket == SocketId::MAIN || self.spares.contains_key(socket);
        let routes = self.candidates.iter().map(|(route, _)| route);
        let gone: Vec<_> = routes.filter(|route| !open(&route.socket)).collect();
        gone.iter().for_each(|route| self.candidates.remove(route));
    }
}
