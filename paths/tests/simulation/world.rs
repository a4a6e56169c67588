//! Two nodes, what is between them, and a clock that is turned by hand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use paths::{Action, Choice, Observed, Own, Paths, Route, Rule, SocketId, Theirs, Via};
use proto::control::{NodeId, PathKinds};
use proto::probe::{Probe, Received};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::lanes::{Detour, Lane};
use crate::nat::Nat;

/// The WireGuard port of both.
const PORT: u16 = 51820;
/// The NAT of a carrier is before that of a home.
pub(crate) type Nats = Vec<Nat>;

/// A host with its node.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) paths: Paths,
    pub(crate) address: IpAddr,
    /// A global IPv6 address, if it has one; nothing is before it.
    pub(crate) v6: Option<IpAddr>,
    pub(crate) nats: Nats,
    /// Nothing but the relay's TCP gets through.
    pub(crate) blocked: bool,
    pub(crate) choice: Choice,
    /// When the choice was another.
    pub(crate) changes: Vec<(Timestamp, Choice)>,
    sockets: BTreeMap<SocketId, u16>,
    pub(crate) sent: u32,
    pub(crate) arrived: Vec<(u32, Timestamp)>,
    pub(crate) counted: Observed,
    /// Probes and calls that left.
    pub(crate) probes: u64,
    highest: u32,
    /// How long packets may be.
    pub(crate) fits: usize,
}

/// What lies between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    pub(crate) relay_delay: Duration,
    /// Of a thousand, on direct ways.
    pub(crate) loss: u32,
    /// From which host nothing arrives directly.
    pub(crate) dead_from: Option<usize>,
    /// Probes pass, packets do not.
    pub(crate) only_probes: bool,
    /// Zeros of a ping that are too many for it.
    pub(crate) too_much_room: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Probe(Probe),
    Packet(u32),
}

#[derive(Debug, PartialEq, Eq)]
struct Arrival {
    host: usize,
    by: By,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Relay,
    /// A node that relays, which is found there.
    Lane(SocketAddr),
    Itself {
        from: SocketAddr,
        to: SocketAddr,
    },
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) hosts: [Host; 2],
    pub(crate) link: Link,
    /// Nodes that may relay, and how much the hosts want it.
    pub(crate) lanes: Vec<Lane>,
    detours: [Detour; 2],
    /// What the policy allows.
    pub(crate) kinds: PathKinds,
    rng: SmallRng,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    number: u64,
    observe_at: Timestamp,
}

impl Host {
    pub(crate) fn new(number: u8, address: IpAddr, nats: Nats, seed: u64) -> Self {
        Self {
            id: NodeId([number; 16]),
            paths: Paths::new(Box::new(SmallRng::seed_from_u64(seed))),
            address,
            v6: None,
            nats,
            blocked: false,
            choice: Choice::Nowhere,
            changes: Vec::new(),
            sockets: BTreeMap::from([(SocketId::MAIN, PORT)]),
            sent: 0,
            arrived: Vec::new(),
            counted: Observed::default(),
            probes: 0,
            highest: 0,
            fits: 0,
        }
    }

    pub(crate) fn is_hard(&self) -> bool {
        self.nats.iter().any(|nat| nat.kind.is_hard())
    }

    pub(crate) fn direct(&self) -> Option<Route> {
        self.choice.route()
    }
}

impl World {
    pub(crate) fn new(hosts: [Host; 2], link: Link, seed: u64) -> Self {
        let now = Timestamp::from_epoch(Duration::from_secs(10_000));
        let mut world = Self {
            now,
            hosts,
            link,
            lanes: Vec::new(),
            detours: [Detour::default(); 2],
            kinds: PathKinds::ALL,
            rng: SmallRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            number: 0,
            observe_at: now,
        };
        world.tell();
        world
    }

    /// Both learn where they are, as by STUN, and each is told of the other.
    pub(crate) fn tell(&mut self) {
        let server = SocketAddr::from(([198, 51, 100, 1], 3478));
        for me in 0..2 {
            let seen = self.leave(me, SocketId::MAIN, server);
            let host = &mut self.hosts[me];
            let local = [Some(host.address), host.v6];
            let local = local.into_iter().flatten().map(|ip| SocketAddr::new(ip, PORT));
            let at: Vec<_> = seen.into_iter().chain(local).collect();
            let own = Own { at: at.clone(), hard: host.is_hard(), ..Own::default() };
            host.paths.set_own(own, self.now);
            let id = host.id;
            let theirs = Theirs { at, relay: true, kinds: self.kinds };
            self.hosts[1 - me].paths.set(id, theirs, self.now);
        }
        self.act();
    }

    /// The policy is another.
    pub(crate) fn set_kinds(&mut self, kinds: PathKinds) {
        self.kinds = kinds;
        self.tell();
    }

    pub(crate) fn set_rule(&mut self, me: usize, rule: Rule) {
        let own = Own { rule, ..self.hosts[me].paths.own().clone() };
        self.hosts[me].paths.set_own(own, self.now);
        self.act();
    }

    /// Where a packet of a host's socket comes from, once it has passed its NATs.
    fn leave(&mut self, me: usize, socket: SocketId, to: SocketAddr) -> Option<SocketAddr> {
        let (rng, now) = (&mut self.rng, self.now);
        let host = &mut self.hosts[me];
        let port = *host.sockets.get(&socket)?;
        if host.blocked {
            return None;
        }
        if to.is_ipv6() {
            return host.v6.map(|ip| SocketAddr::new(ip, port));
        }
        let mut from = SocketAddr::new(host.address, port);
        for nat in &mut host.nats {
            from = nat.send(from, to, rng, now);
        }
        Some(from)
    }

    /// Which of a host's addresses a packet to this one of the world reaches.
    fn enter(&mut self, me: usize, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let now = self.now;
        let host = &mut self.hosts[me];
        if host.blocked {
            return None;
        }
        if Some(to.ip()) == host.v6 {
            return Some(to);
        }
        let mut at = to;
        for nat in host.nats.iter_mut().rev() {
            if at.ip() != nat.outside {
                return None;
            }
            at = nat.receive(from, at.port(), now)?;
        }
        (at.ip() == host.address).then_some(at)
    }

    fn schedule(&mut self, delay: Duration, arrival: Arrival) {
        self.number += 1;
        self.queue.push(Reverse((self.now + delay, self.number)));
        self.arrivals.insert(self.number, arrival);
    }

    fn transmit(&mut self, me: usize, via: Via, content: Content) {
        let host = 1 - me;
        match via {
            Via::Relay => {
                if matches!(content, Content::Packet(_)) {
                    self.detours[me].note(self.now);
                }
                self.schedule(self.link.relay_delay, Arrival { host, by: By::Relay, content });
            }
            Via::Direct(route) if route.is_relayed() => {
                self.transmit_by_lane(me, route.to, content)
            }
            Via::Direct(route) => {
                let Some(from) = self.leave(me, route.socket, route.to) else { return };
                let lost = self.rng.random_range(0..1000) < self.link.loss;
                let stopped = self.link.only_probes && matches!(content, Content::Packet(_));
                let too_long = matches!(content, Content::Probe(Probe::Ping { room, .. })
                    if room >= self.link.too_much_room);
                if !lost && !too_long && !stopped && self.link.dead_from != Some(me) {
                    let by = By::Itself { from, to: route.to };
                    self.schedule(self.link.delay, Arrival { host, by, content });
                }
            }
        }
    }

    /// Who cannot send by it any more, and knows that, sends by the relay.
    fn transmit_by_lane(&mut self, me: usize, at: SocketAddr, content: Content) {
        let lane = self.lanes.iter().find(|lane| lane.at == at).expect("one that there was");
        if !lane.is_open(me) {
            if matches!(content, Content::Packet(_)) {
                self.transmit(me, Via::Relay, content);
            }
            return;
        }
        let (delay, loss, carries) = (lane.delay, lane.loss, lane.carries(me, self.now));
        self.detours[me].use_lane(self.now);
        if carries && self.rng.random_range(0..1000) >= loss {
            self.schedule(delay, Arrival { host: 1 - me, by: By::Lane(at), content });
        }
    }

    /// Tells hosts by which nodes they can be relayed, as far as they have heard.
    fn look_at_lanes(&mut self) {
        for me in 0..2 {
            let mut news = false;
            for lane in &mut self.lanes {
                news |= lane.look(me, &self.detours, &mut self.rng, self.now);
            }
            if news {
                let open = self.lanes.iter().filter(|lane| lane.is_open(me));
                let open: Vec<_> = open.map(|lane| lane.at).collect();
                let other = self.hosts[1 - me].id;
                self.hosts[me].paths.set_relays(other, &open, self.now);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { host: me, by, content } = arrival;
        if by == By::Relay && matches!(content, Content::Packet(_)) {
            self.detours[me].note(self.now);
        }
        let via = match by {
            By::Relay => Via::Relay,
            By::Lane(at) => Via::Direct(at.into()),
            By::Itself { from, to } => {
                let Some(at) = self.enter(me, from, to) else { return };
                let host = &self.hosts[me];
                let socket = host.sockets.iter().find(|(_, port)| **port == at.port());
                let Some((&socket, _)) = socket else { return };
                Via::Direct(Route { socket, to: from })
            }
        };
        let other = self.hosts[1 - me].id;
        let host = &mut self.hosts[me];
        match content {
            // What is refused is refused.
            Content::Probe(probe) => drop(host.paths.handle_probe(other, via, &probe, self.now)),
            Content::Packet(number) => {
                host.arrived.push((number, self.now));
                host.counted.received += 100;
                host.highest = host.highest.max(number + 1);
                let arrived = host.counted.messages.arrived + 1;
                host.counted.messages = Received { expected: host.highest, arrived };
            }
        }
        self.act();
    }

    /// Does what both nodes want done.
    fn act(&mut self) {
        for me in 0..2 {
            while let Some(action) = self.hosts[me].paths.poll_action() {
                match action {
                    Action::Send { via, probe, .. } => {
                        self.hosts[me].probes += 1;
                        self.transmit(me, via, Content::Probe(probe));
                    }
                    Action::Use { choice, .. } => {
                        let host = &mut self.hosts[me];
                        host.choice = choice;
                        host.changes.push((self.now, choice));
                    }
                    Action::Greet { .. } | Action::Renew { .. } => {}
                    Action::Fits { bytes, .. } => self.hosts[me].fits = bytes,
                    Action::OpenSpares { first, count, .. } => {
                        for n in 0..count {
                            // There are few.
                            let port = u16::try_from(2000 + first.0 + n).expect("a port");
                            self.hosts[me].sockets.insert(SocketId(first.0 + n), port);
                        }
                    }
                    Action::CloseSpares { first, count, except } => {
                        let gone = first.0..first.0 + count;
                        self.hosts[me]
                            .sockets
                            .retain(|id, _| !gone.contains(&id.0) || except.contains(id));
                    }
                }
            }
        }
    }

    /// Sends one packet of a host's traffic.
    pub(crate) fn packet(&mut self, me: usize) {
        let host = &mut self.hosts[me];
        let number = host.sent;
        host.sent += 1;
        host.counted.sent += 100;
        let via = match host.choice {
            Choice::Nowhere => {
                host.counted.sent -= 100;
                host.counted.stuck += 1;
                return;
            }
            Choice::Relay => Via::Relay,
            Choice::Direct(route) => Via::Direct(route),
        };
        self.transmit(me, via, Content::Packet(number));
    }

    /// Lets time pass; with `every`, both send packets.
    pub(crate) fn run(&mut self, time: Duration, every: Option<Duration>) {
        let end = self.now + time;
        let mut packet_at = self.now;
        loop {
            let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
            let timers =
                self.hosts.iter().filter_map(|host| host.paths.poll_timeout()).map(|(at, _)| at);
            let next = timers.chain(arrival).chain(every.map(|_| packet_at));
            let next = next.chain([self.observe_at, end]).min().expect("there is an end");
            self.now = self.now.max(next);
            if self.now >= end {
                return;
            }
            if arrival.is_some_and(|at| at <= self.now) {
                let Some(Reverse((_, number))) = self.queue.pop() else { continue };
                let arrival = self.arrivals.remove(&number).expect("it was scheduled");
                self.arrive(arrival);
                continue;
            }
            for host in &mut self.hosts {
                host.paths.handle_timeout(self.now);
            }
            self.act();
            if let Some(every) = every.filter(|_| packet_at <= self.now) {
                packet_at = packet_at + every;
                self.packet(0);
                self.packet(1);
            }
            // As the shell does, which looks at the engine now and then.
            if self.observe_at <= self.now {
                self.observe_at = self.now + Duration::from_millis(200);
                self.look_at_lanes();
                for me in 0..2 {
                    let (id, counted) = (self.hosts[1 - me].id, self.hosts[me].counted);
                    self.hosts[me].paths.observe(id, counted, self.now);
                }
                self.act();
            }
        }
    }
}

impl World {
    /// How many sockets a host has open.
    pub(crate) fn sockets(&self, me: usize) -> usize {
        self.hosts[me].sockets.len()
    }
}
