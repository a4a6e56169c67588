//! A link to another relay: what waits for it, what it has to be told, and whether it lives.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::mesh::{MAX_NOTICES, MeshFrame, RelayId};
use proto::ticket::NetworkId;

use crate::core::backlog::QueueBacklog;
use crate::core::bucket::Bucket;
use crate::core::mesh::early::Early;
use crate::core::output::{Delivery, Packet};
use crate::core::queue::{Control, Queue, Queued};

/// Beats without a sign of life, after which a link is dead.
const SILENT_BEATS: u32 = 5;
/// Answers a second that nobody is there, to one relay.
const ABSENCES: NonZeroU64 = NonZeroU64::new(1000).unwrap();
const ABSENCES_AHEAD: Duration = Duration::from_secs(1);

/// A link; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub(in crate::core) relay: RelayId,
    pub(in crate::core) number: u32,
}

/// What a link is to be given.
pub type ToLink = Delivery<Transit, MeshFrame<'static>>;

/// Packets on their way to a node at another relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The network of both.
    pub network: NetworkId,
    /// Whose they are.
    pub to: PublicKey,
    /// What was sent, and by whom.
    pub packet: Packet,
}

impl Queued for Transit {
    fn sender(&self) -> PublicKey {
        self.packet.from
    }

    fn bytes(&self) -> usize {
        self.packet.payload.len()
    }

    fn datagrams(&self) -> usize {
        self.packet.count()
    }

    fn at(&self) -> Instant {
        self.packet.at
    }
}

impl Control for MeshFrame<'_> {
    fn cost(&self) -> usize {
        const NOTICE: usize = 53;
        match self {
            Self::Nodes(notices) => notices.len() * NOTICE,
            _ => 64,
        }
    }
}

/// One link.
pub(in crate::core) struct Link {
    pub(in crate::core) number: u32,
    pub(in crate::core) queue: Queue<Transit, MeshFrame<'static>>,
    pub(in crate::core) backlog: QueueBacklog,
    pub(in crate::core) pulse: Pulse,
    /// What came before the news of who has sent it.
    pub(in crate::core) early: Early,
    /// Answers that nobody is there.
    absences: Bucket,
    /// Nodes of which the other has to be told, each once: what is true when it is written counts.
    changed: VecDeque<(NetworkId, PublicKey)>,
    listed: HashSet<(NetworkId, PublicKey)>,
}

impl Link {
    pub(in crate::core) fn new(number: u32, now: Instant) -> Self {
        Self {
            number,
            queue: Queue::new(),
            backlog: QueueBacklog::default(),
            pulse: Pulse::default(),
            early: Early::default(),
            absences: Bucket::full(now),
            changed: VecDeque::new(),
            listed: HashSet::new(),
        }
    }

    /// The other has to be told of this node.
    pub(in crate::core) fn note(&mut self, network: NetworkId, node: PublicKey) {
        if self.listed.insert((network, node)) {
            self.changed.push_back((network, node));
        }
    }

    /// Nodes to tell of now, as many as a frame takes.
    pub(in crate::core) fn changes(&mut self) -> Vec<(NetworkId, PublicKey)> {
        let count = self.changed.len().min(MAX_NOTICES);
        let changes: Vec<_> = self.changed.drain(..count).collect();
        changes.iter().for_each(|node| {
            self.listed.remove(node);
        });
        changes
    }

    /// Whether one more sender may be told that nobody is there.
    pub(in crate::core) fn may_say_absent(&mut self, now: Instant) -> bool {
        self.absences.take_within(1, ABSENCES, ABSENCES_AHEAD, now)
    }
}

/// Signs of life. Silence is counted in beats of our own: a relay that was itself stopped for a while
/// has missed its own beats too, and does not take the others for dead.
#[derive(Default)]
pub(in crate::core) struct Pulse {
    silent: u32,
    beat: u64,
    sent: Option<Instant>,
    rtt: Option<Duration>,
}

impl Pulse {
    /// The next beat to send; `None` if the link is dead.
    pub(in crate::core) fn next(&mut self, now: Instant) -> Option<u64> {
        self.silent += 1;
        self.beat += 1;
        self.sent = Some(now);
        (self.silent <= SILENT_BEATS).then_some(self.beat)
    }

    /// Something came.
    pub(in crate::core) const fn heard(&mut self) {
        self.silent = 0;
    }

    /// Our beat came back.
    pub(in crate::core) fn back(&mut self, beat: u64, now: Instant) {
        // Of the latest only: an older one came late, and the next will say so too.
        if beat == self.beat
            && let Some(sent) = self.sent.take()
        {
            let took = now.saturating_duration_since(sent);
            self.rtt = Some(self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8));
        }
    }

    /// Microseconds there and back.
    pub(in crate::core) fn rtt(&self) -> Option<u64> {
        self.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX))
    }
}
