//! The other relays of the region: a link to each, and who is where by what each has said.
//!
//! Packets that came by a link are never put on another, so there are no loops; each relay says itself
//! who is there, so nobody has to pass that on either.

mod directory;
mod early;
mod link;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::mesh::RelayId;
use proto::ticket::NetworkId;

pub(super) use directory::{Claim, Directory};
pub(super) use link::Link;
pub use link::{LinkId, ToLink, Transit};

/// Time between two signs of life on a link.
pub(super) const BEAT: Duration = Duration::from_millis(50);
/// Bytes that may wait for a link: it carries what is for many clients.
pub(super) const QUEUE_BYTES: usize = 4 << 20;
/// Nodes that another relay may speak for: what it says costs us memory.
pub(super) const NODES_OF_A_RELAY: usize = 100_000;

/// A region, for one of its relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Which of its relays this is.
    pub own: Option<RelayId>,
    /// The others, and where their meshes are reached.
    pub others: BTreeMap<RelayId, SocketAddr>,
}

/// What is known of the region.
#[derive(Default)]
pub(super) struct Mesh {
    pub(super) region: Region,
    pub(super) links: BTreeMap<RelayId, Link>,
    pub(super) directory: Directory,
    /// How many links there have been.
    pub(super) numbers: u32,
    /// Whether the next beat is set.
    pub(super) beating: bool,
}

/// How a region looks from one of its relays.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MeshStatus {
    /// The region's name.
    pub region: String,
    /// The relay's own id.
    pub relay: u32,
    /// One for each other relay.
    pub links: Vec<LinkStatus>,
}

/// A link, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LinkStatus {
    /// The other relay.
    pub relay: u32,
    /// Where its mesh is reached.
    pub address: SocketAddr,
    /// Whether the link is up.
    pub up: bool,
    /// Microseconds there and back, over the last beats.
    pub rtt_us: Option<u64>,
    /// Nodes that are there.
    pub nodes: usize,
    /// Bytes that wait.
    pub waiting: usize,
}

impl Mesh {
    /// The link of this id, if it is the latest to that relay.
    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id.relay).filter(|link| link.number == id.number)
    }

    /// Where a node is reached, if another relay says that it has it.
    pub(super) fn find(&self, network: NetworkId, node: &PublicKey) -> Option<&Claim> {
        self.directory.find(network, node)
    }

    /// What had come on a link before the news of who has sent it, which are there by now.
    pub(super) fn early_no_longer(&mut self, id: LinkId) -> Vec<Transit> {
        let Some(link) = self.links.get_mut(&id.relay) else { return Vec::new() };
        let told = &self.directory;
        link.early.take(|transit| told.has(id.relay, transit.network, &transit.packet.from))
    }

    /// Forgets a link and what was said on it.
    pub(super) fn remove(&mut self, relay: RelayId) -> Option<Link> {
        self.directory.forget(relay);
        self.links.remove(&relay)
    }

    pub(super) fn status(&self) -> Option<MeshStatus> {
        let links = self.region.others.iter().map(|(relay, &address)| {
            let link = self.links.get(relay);
            LinkStatus {
                relay: relay.0,
                address,
                up: link.is_some(),
                rtt_us: link.and_then(|link| link.pulse.rtt()),
                nodes: self.directory.count(*relay),
                waiting: link.map_or(0, |link| link.queue.cost()),
            }
        });
        let relay = self.region.own?.0;
        Some(MeshStatus { region: self.region.name.clone(), relay, links: links.collect() })
    }
}

/// How long ago, as notices say it.
pub(super) fn age(since: Instant, now: Instant) -> u32 {
    u32::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u32::MAX)
}
