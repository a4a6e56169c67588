//! All peers, and whose time has come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;

use engine::Timestamp;
use proto::control::NodeId;
use proto::probe::Probe;
use rand::RngCore;

use crate::candidates::Origin;
use crate::explain::Explained;
use crate::peer::{Observed, Own, Peer, Theirs, World};
use crate::refusal::Refusal;
use crate::route::{Choice, Rule, SocketId, Via};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Seal this for a peer and send it.
    Send {
        /// For whom.
        peer: NodeId,
        /// How.
        via: Via,
        /// What.
        probe: Probe,
        /// Whether it is lost where it is too long, in place of being cut.
        whole: bool,
    },
    /// A peer is there by its relay: ask it for a session if packets wait for one.
    Greet {
        /// Which.
        peer: NodeId,
    },
    /// A peer was started anew, and knows no session: ask it for another.
    Renew {
        /// Which.
        peer: NodeId,
        /// Where it is.
        at: SocketAddr,
    },
    /// Let packets of a peer's have this length, and tell the host of longer ones.
    Fits {
        /// Whose.
        peer: NodeId,
        /// The length, in bytes.
        bytes: usize,
    },
    /// Send a peer's packets there from now on, and receive them by all ways.
    Use {
        /// Whose.
        peer: NodeId,
        /// Where.
        choice: Choice,
    },
    /// Open spare sockets, with these numbers.
    OpenSpares {
        /// For whom.
        peer: NodeId,
        /// The first.
        first: SocketId,
        /// How many.
        count: u32,
    },
    /// Close them.
    CloseSpares {
        /// The first.
        first: SocketId,
        /// How many.
        count: u32,
        /// Not these: they are of use.
        except: Vec<SocketId>,
    },
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Searches for direct ways.
    pub searches: u64,
    /// Calls through relays.
    pub calls: u64,
    /// Pings.
    pub pings: u64,
    /// Searches of a hard NAT's ports.
    pub birthdays: u64,
    /// Ways that were found, by [`Origin`].
    pub found: [u64; Origin::ALL.len()],
    /// Changes of ways.
    pub changes: u64,
}

/// See the crate.
pub struct Paths {
    own: Own,
    peers: BTreeMap<NodeId, Peer>,
    /// When peers are due. An entry counts only if the peer's `wake` says the same.
    wakes: BinaryHeap<Reverse<(Timestamp, NodeId)>>,
    actions: VecDeque<Action>,
    counters: Counters,
    spares: (u32, Option<NodeId>),
    rng: Box<dyn RngCore + Send>,
}

impl Paths {
    /// Without peers. What `rng` gives must not be guessed: pings are known by it.
    #[must_use]
    pub fn new(rng: Box<dyn RngCore + Send>) -> Self {
        Self {
            own: Own::default(),
            peers: BTreeMap::new(),
            wakes: BinaryHeap::new(),
            actions: VecDeque::new(),
            counters: Counters::default(),
            spares: (1, None),
            rng,
        }
    }

    /// This node is reached there, or behaves so; its network is the same.
    pub fn set_own(&mut self, own: Own, now: Timestamp) {
        let before = std::mem::replace(&mut self.own, own);
        if before.rule != self.own.rule {
            self.each(now, Peer::obey);
        }
        if self.own.mapped.is_some() && before.mapped != self.own.mapped {
            self.each(now, Peer::look_again);
        }
    }

    /// What this node is.
    #[must_use]
    pub const fn own(&self) -> &Own {
        &self.own
    }

    /// This node's network is another.
    pub fn start_over(&mut self, now: Timestamp) {
        self.each(now, Peer::start_over);
    }

    /// There is a peer, or the control plane says something else of it.
    pub fn set(&mut self, id: NodeId, theirs: Theirs, now: Timestamp) {
        self.peers.entry(id).or_insert_with(|| Peer::new(id, now));
        self.with(id, now, |peer, world| peer.set(theirs, world));
    }

    /// By these nodes packets for a peer can be relayed now.
    pub fn set_relays(&mut self, id: NodeId, by: &[SocketAddr], now: Timestamp) {
        self.with(id, now, |peer, world| peer.set_relays(by, world));
    }

    /// A peer is gone.
    pub fn remove(&mut self, id: &NodeId, now: Timestamp) {
        self.with(*id, now, |peer, world| peer.end(world));
        self.peers.remove(id);
    }

    /// The peers.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// There is traffic of this peer.
    pub fn wake_up(&mut self, id: NodeId, now: Timestamp) {
        self.with(id, now, |peer, _| peer.wake_up(now));
    }

    /// Takes what the engine has counted of a peer.
    pub fn observe(&mut self, id: NodeId, observed: Observed, now: Timestamp) {
        self.with(id, now, |peer, _| peer.observe(observed, now));
    }

    /// Takes a probe of a peer.
    pub fn handle_probe(
        &mut self,
        id: NodeId,
        via: Via,
        probe: &Probe,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.with(id, now, |peer, world| peer.handle(via, probe, world))
            .unwrap_or(Err(Refusal::Stranger))
    }

    /// When [`Self::handle_timeout`] is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let Reverse((at, id)) = self.wakes.peek()?;
        let why = self.peers.get(id).and_then(Peer::due).map_or("nothing", |(_, why)| why);
        Some((*at, why))
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let mut due = Vec::new();
        while let Some(&Reverse((at, id))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            due.push((at, id));
        }
        for (at, id) in due {
            if self.peers.get(&id).is_some_and(|peer| peer.wake == Some(at)) {
                self.with(id, now, |peer, world| {
                    peer.wake = None;
                    peer.handle_timeout(world);
                });
            }
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What was done so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where a peer's packets go.
    #[must_use]
    pub fn choice(&self, id: &NodeId) -> Option<Choice> {
        self.peers.get(id).map(|peer| peer.choice)
    }

    /// Why.
    #[must_use]
    pub fn explain(&self, id: &NodeId, now: Timestamp) -> Option<Explained> {
        self.peers.get(id).map(|peer| peer.explain(self.own.rule, now))
    }

    /// What ways may be chosen.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.own.rule
    }

    /// How many things are remembered of peers, timers included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.wakes.len() + self.peers.values().map(Peer::size).sum::<usize>()
    }

    fn each(&mut self, now: Timestamp, mut act: impl FnMut(&mut Peer, &mut World<'_>)) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            self.with(id, now, &mut act);
        }
    }

    fn with<T>(
        &mut self,
        id: NodeId,
        now: Timestamp,
        act: impl FnOnce(&mut Peer, &mut World<'_>) -> T,
    ) -> Option<T> {
        let Self { own, peers, wakes, actions, counters, spares, rng } = self;
        let peer = peers.get_mut(&id)?;
        let mut world = World { own, rng, actions, counters, spares, now };
        let done = act(peer, &mut world);
        // An entry that is early is looked at and put right then: a peer has one or two.
        let due = peer.due().map(|(at, _)| at);
        if let Some(at) = due
            && peer.wake.is_none_or(|wake| at < wake)
        {
            peer.wake = Some(at);
            wakes.push(Reverse((at, id)));
        }
        Some(done)
    }
}
