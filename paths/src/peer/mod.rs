//! One peer: where it may be, what was asked, what is chosen.

mod choose;
mod length;
mod probes;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{NodeId, PathKind, PathKinds};
use proto::probe::{PingId, Probe, Received};
use rand::RngCore;

use crate::agents::{Action, Counters};
use crate::birthday::Birthday;
use crate::book::Book;
use crate::budget::Budget;
use crate::candidates::{Candidates, Origin, is_sensible};
use crate::evidence::{Evidence, Fault};
use crate::keepalive::Keepalive;
use crate::loss::LossMeter;
use crate::mtu::PathMtu;
use crate::route::{Choice, Route, Rule, SocketId, Via};
use crate::search::Search;
use crate::select::is_usable;

/// A peer without traffic for so long is idle: it is sent nothing, and begins by the relay again,
/// since NATs may have closed.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long a call is worth the same. Not longer than a search, or two nodes would keep each other awake.
pub(crate) const CALLED: Duration = Duration::from_secs(4);
/// Pings that were seen, so that none is answered twice.
const SEEN_PINGS: usize = 64;

/// What this node is.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Where it may be reached, what the world sees first.
    pub at: Vec<SocketAddr>,
    /// Where a router has promised to bring to it what comes.
    pub mapped: Option<SocketAddr>,
    /// Whether its NAT gives each destination another port.
    pub hard: bool,
    /// The networks of the mesh: nobody is reached through itself.
    pub inside: Vec<IpNet>,
    /// What ways it is set to use.
    pub rule: Rule,
    /// The longest IP packet that an interface of it sends, if not 1500 bytes.
    pub mtu: Option<u16>,
}

/// What the control plane says of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Theirs {
    /// Where it may be reached.
    pub at: Vec<SocketAddr>,
    /// Whether a relay takes packets for it.
    pub relay: bool,
    /// By which kinds of path the network's policy lets packets go, to it and from it.
    pub kinds: PathKinds,
}

/// What the engine has counted of a peer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Bytes of WireGuard messages that were sent.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
    /// Messages that came, and that were to come.
    pub messages: Received,
    /// Packets of the host for which there was no way.
    pub stuck: u64,
}

/// What a peer's agent acts with.
pub(crate) struct World<'a> {
    pub(crate) own: &'a Own,
    pub(crate) rng: &'a mut dyn RngCore,
    pub(crate) actions: &'a mut VecDeque<Action>,
    pub(crate) counters: &'a mut Counters,
    /// The next number for a spare socket; who has some now.
    pub(crate) spares: &'a mut (u32, Option<NodeId>),
    pub(crate) now: Timestamp,
}

impl World<'_> {
    fn ping_id(&mut self) -> PingId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        PingId(id)
    }
}

/// See the module.
pub(crate) struct Peer {
    id: NodeId,
    theirs: Theirs,
    /// The nodes by which its packets can be relayed.
    relayed_by: Vec<SocketAddr>,
    pub(crate) candidates: Candidates,
    book: Book,
    pub(crate) choice: Choice,
    pub(crate) since: Timestamp,
    pub(crate) changes: u32,
    /// When there is to be a choice, since the first answer waits for better ones.
    settle: Option<Timestamp>,
    pub(crate) loss: LossMeter,
    mtu: PathMtu,
    /// What was last said of it.
    pub(crate) fits: usize,
    search: Search,
    birthday: Birthday,
    /// Spare sockets that were heard on, and when.
    spares: BTreeMap<SocketId, Timestamp>,
    /// When the way in use is pinged next, and how often while it is quiet.
    keep: Timestamp,
    pub(crate) keepalive: Keepalive,
    /// When there was traffic last.
    active: Option<Timestamp>,
    /// When it called last: somebody there wants to speak, though nothing has come yet.
    called: Option<Timestamp>,
    observed: Observed,
    /// What the peer has said last of what arrived there.
    arrived: u32,
    /// Since when something was sent directly and nothing has arrived.
    stalled: Option<Timestamp>,
    /// Our network has changed: the way in use has to answer anew, from then on.
    doubted: Option<Timestamp>,
    /// Whether its NAT is hard, as it said in its last call, and where it is.
    hard: bool,
    called_at: Vec<SocketAddr>,
    pings: VecDeque<PingId>,
    answers: Budget,
    calls: Budget,
    guesses: Budget,
    /// Direct ways that had to be left lately, and until when none is taken for it.
    left: u32,
    left_at: Timestamp,
    pub(crate) barred: Timestamp,
    /// When its timer is due, as the heap has it.
    pub(crate) wake: Option<Timestamp>,
}

impl Peer {
    pub(crate) fn new(id: NodeId, now: Timestamp) -> Self {
        Self {
            id,
            theirs: Theirs::default(),
            relayed_by: Vec::new(),
            candidates: Candidates::default(),
            book: Book::default(),
            choice: Choice::Nowhere,
            since: now,
            changes: 0,
            settle: None,
            loss: LossMeter::default(),
            mtu: PathMtu::default(),
            fits: usize::MAX,
            search: Search::NONE,
            birthday: Birthday::default(),
            spares: BTreeMap::new(),
            keep: now,
            keepalive: Keepalive::default(),
            active: None,
            called: None,
            observed: Observed::default(),
            arrived: 0,
            stalled: None,
            doubted: None,
            hard: false,
            called_at: Vec::new(),
            pings: VecDeque::new(),
            answers: Budget::new(64, 100),
            calls: Budget::new(6, 2),
            guesses: Budget::new(200, 20),
            left: 0,
            left_at: Timestamp::default(),
            barred: Timestamp::default(),
            wake: None,
        }
    }

    /// The control plane says this of it.
    pub(crate) fn set(&mut self, theirs: Theirs, world: &mut World<'_>) {
        let inside = &world.own.inside;
        let named: Vec<_> =
            theirs.at.iter().copied().filter(|at| is_sensible(*at, inside)).collect();
        let news = self.candidates.name(Origin::Told, &named, self.choice.route(), world.now);
        let relay_changed = self.theirs.relay != theirs.relay;
        let obeys = self.theirs.kinds == theirs.kinds;
        self.theirs = theirs;
        if !obeys {
            self.obey(world);
        }
        if news && self.is_active(world.now) {
            self.search.begin(world.now);
        }
        if news || relay_changed {
            self.choose(world);
        }
        self.tell_fits(world);
    }

    /// By these nodes its packets can be relayed now. One that is new is asked as soon as it is worth it.
    pub(crate) fn set_relays(&mut self, by: &[SocketAddr], world: &mut World<'_>) {
        self.relayed_by = by.to_vec();
        self.take_relays(world);
        self.choose(world);
    }

    fn take_relays(&mut self, world: &World<'_>) {
        let may = self.kinds(world.own).has(PathKind::PeerRelay);
        let by: &[SocketAddr] = if may { &self.relayed_by } else { &[] };
        let news = self.candidates.relayed(by, world.now);
        if news && self.is_active(world.now) && !self.choice.is_direct() {
            self.search.begin(world.now);
        }
    }

    /// The kinds of path that both the policy and this node's settings allow.
    pub(crate) fn kinds(&self, own: &Own) -> PathKinds {
        self.theirs.kinds.and(own.rule.kinds())
    }

    /// Whether other ways than the relay are looked for.
    fn may_look(&self, own: &Own) -> bool {
        let kinds = self.kinds(own);
        kinds.has(PathKind::Direct) || kinds.has(PathKind::PeerRelay)
    }

    /// Whether this is the way in use, and NATs are to keep it open.
    fn keeps_open(&self, route: Route) -> bool {
        self.choice == Choice::Direct(route) && !route.is_relayed()
    }

    /// The kinds of path that the policy allows.
    pub(crate) const fn policy(&self) -> PathKinds {
        self.theirs.kinds
    }

    /// Packets for which there was no way.
    pub(crate) const fn stuck(&self) -> u64 {
        self.observed.stuck
    }

    /// Other kinds of path are allowed: what is forbidden is left in this moment, and what is allowed is looked
    /// for.
    pub(crate) fn obey(&mut self, world: &mut World<'_>) {
        self.take_relays(world);
        if self.is_active(world.now) && !self.choice.is_direct() {
            self.search.begin(world.now);
        }
        self.choose(world);
        if !self.kinds(world.own).has(PathKind::Direct) {
            self.called_at.clear();
            self.end_birthday(world);
            self.close_silent_spares(Duration::ZERO, world);
        }
    }

    /// This node's network is another.
    pub(crate) fn start_over(&mut self, world: &mut World<'_>) {
        self.candidates.forget();
        self.book.clear();
        self.keepalive = Keepalive::default();
        self.birthday = Birthday::default();
        (self.left, self.barred) = (0, Timestamp::default());
        if self.choice.route().is_some() {
            self.doubted = Some(world.now);
            self.keep = world.now;
            self.begin_mtu(world);
        }
        if self.is_active(world.now) {
            self.search.begin(world.now);
        }
    }

    /// There is another way to this node: peers that are reached by the relay are told.
    pub(crate) fn look_again(&mut self, world: &mut World<'_>) {
        if self.is_active(world.now) && self.choice.route().is_none() {
            self.search.begin(world.now);
        }
    }

    pub(crate) fn is_active(&self, now: Timestamp) -> bool {
        self.active.is_some_and(|at| now - at < IDLE)
    }

    /// Whether there is traffic, or may be soon.
    pub(super) fn is_wanted(&self, now: Timestamp) -> bool {
        self.is_active(now) || self.called.is_some_and(|at| now - at < CALLED)
    }

    /// There is traffic.
    pub(crate) fn wake_up(&mut self, now: Timestamp) {
        let was = self.is_active(now);
        self.active = Some(now);
        if !was {
            self.search.begin(now);
        }
    }

    /// Takes what the engine has counted.
    pub(crate) fn observe(&mut self, observed: Observed, now: Timestamp) {
        let before = std::mem::replace(&mut self.observed, observed);
        let tried = observed.sent > before.sent || observed.stuck > before.stuck;
        if tried || observed.received > before.received {
            if !self.is_busy(now) {
                if observed.received > before.received {
                    self.keepalive.touch(now);
                }
                self.keep = self.keep.min(now);
            }
            self.wake_up(now);
        }
        // Told by the peer's pongs whether it arrives.
        if observed.sent > before.sent && self.choice.route().is_some() {
            self.stalled.get_or_insert(now);
        }
    }

    /// What is wrong with the way in use, by what goes through it.
    fn tunnel_fault(&self, now: Timestamp) -> Option<Fault> {
        let route = self.choice.route()?;
        if self.loss.is_bad() {
            return Some(Fault::Lossy);
        }
        let evidence = self.candidates.get(&route)?.evidence;
        let rtt = evidence.rtt.unwrap_or_default();
        let round = rtt * 3;
        if let Some(at) = self.doubted {
            if now - at > time::DOUBT + round {
                return Some(Fault::Died);
            }
            let mut others = self.candidates.ways().filter(|(other, _)| *other != route);
            let answers = |other: &Evidence| {
                other.heard.is_some_and(|heard| heard > at) && is_usable(other, self.barred, now)
            };
            if now - at > time::LATE + rtt * 5 / 4 && others.any(|(_, other)| answers(other)) {
                return Some(Fault::Moved);
            }
        }
        // Two rounds of pings have said that nothing has arrived since; of who knows no session, that
        // says nothing about the way.
        let stalled = self.stalled.is_some_and(|at| now - at > time::STALL + round);
        let stalled = stalled && self.arrived > 0;
        (stalled && evidence.is_fresh(time::BUSY_PING * 2, now)).then_some(Fault::Blocked)
    }

    /// The peer was heard by a way that has not answered yet: it may have moved there, so the one in use has to
    /// answer anew.
    fn doubt(&mut self, heard: Route, world: &mut World<'_>) {
        if let Some(route) = self.choice.route()
            && route != heard
            && !heard.is_relayed()
            && self.doubted.is_none()
        {
            self.doubted = Some(world.now);
            self.keep = world.now + time::DOUBT_PING;
            self.ping(route, world);
        }
    }

    fn send(&self, via: Via, probe: Probe, world: &mut World<'_>) {
        world.actions.push_back(Action::Send { peer: self.id, via, probe, whole: false });
    }

    /// Asks whether it is there. What has never answered is asked within bounds only: a peer may name
    /// any address.
    fn ping(&mut self, route: Route, world: &mut World<'_>) {
        if !self.kinds(world.own).has(route.kind()) {
            return;
        }
        let known = self.candidates.evidence(&route);
        let proven = known.as_ref().is_some_and(|evidence| evidence.answered > 0);
        if !proven && !self.guesses.take(world.now) {
            return;
        }
        if let Some(evidence) = known {
            evidence.asked(world.now);
        }
        self.ping_anyway(route, world);
    }

    fn ping_anyway(&mut self, route: Route, world: &mut World<'_>) {
        let id = world.ping_id();
        self.book.add(id, route, world.now);
        if self.keeps_open(route) {
            self.keepalive.asked(world.now);
        }
        world.counters.pings += 1;
        self.send(Via::Direct(route), Probe::Ping { id, room: 0 }, world);
    }

    fn ping_all(&mut self, world: &mut World<'_>) {
        let used = self.choice.route();
        let routes: Vec<_> = self.candidates.iter().map(|(route, _)| route).collect();
        for route in routes {
            if Some(route) != used {
                self.ping(route, world);
            }
        }
    }

    /// How much is remembered of it: bounded, whatever comes.
    pub(crate) fn size(&self) -> usize {
        self.candidates.len() + self.book.len() + self.pings.len() + self.called_at.len()
    }
}
