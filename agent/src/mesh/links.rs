//! What the node is to relays: its home, its peers' numbers there, and the plan of the relays' task.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{Netmap, NodeId, PathKind, Peer, RegionId, Relay};
use proto::key::PublicKey;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use super::home::Home;
use super::keys::KeyRing;
use super::nat64::Prefix;
use super::peer_relay::RELAY_NAME;
use super::relay::{PeerNumber, Plan, RelayHome, RelayNews, RelayPeer, Relays, Way};

/// See the module.
pub(super) struct Links {
    relays: Relays,
    home: Home,
    numbers: BTreeMap<NodeId, PeerNumber>,
    /// Ways to a peer by another that relays, and those that are open.
    ways: BTreeMap<(NodeId, NodeId), PeerNumber>,
    open: BTreeSet<PeerNumber>,
    /// The key of each peer, and the one before: by a relay of another region it may still send as that.
    keys: BTreeMap<NodeId, (PublicKey, Option<PublicKey>)>,
}

impl Links {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            relays: Relays::start()?,
            home: Home::new(
                f64::from(OsRng.try_next_u32().unwrap_or_default()) / f64::from(u32::MAX),
            ),
            numbers: BTreeMap::new(),
            ways: BTreeMap::new(),
            open: BTreeSet::new(),
            keys: BTreeMap::new(),
        })
    }

    /// The region where the node is at home, or wants to be.
    pub(super) const fn region(&self) -> Option<RegionId> {
        self.home.region()
    }

    /// The relay that serves it.
    pub(super) fn home(&self) -> Option<RelayHome> {
        self.relays.home()
    }

    /// Why no relay serves the node, if none does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.relays.trouble()
    }

    /// Where the engine sends packets for a peer.
    pub(super) fn address(&self, peer: &NodeId) -> Option<SocketAddr> {
        self.numbers.get(peer).map(|number| self.relays.address(*number))
    }

    /// Waits for news of the relays.
    pub(super) async fn news(&mut self) -> Option<RelayNews> {
        self.relays.news().await
    }

    /// Ways by peers that relay are open, and no others; says to which peers there are other ones now.
    pub(super) fn set_open(&mut self, open: BTreeSet<PeerNumber>) -> BTreeSet<NodeId> {
        let differs = |number: &PeerNumber| open.contains(number) != self.open.contains(number);
        let changed = self.ways.iter().filter(|(_, number)| differs(number));
        let changed = changed.map(|((peer, _), _)| *peer).collect();
        self.open = open;
        changed
    }

    /// The open ways to a peer by others that relay: where the engine sends packets.
    pub(super) fn open_ways(&self, peer: &NodeId) -> Vec<SocketAddr> {
        let open = self.ways_to(peer).filter(|(_, number)| self.open.contains(number));
        open.map(|(_, number)| self.relays.address(number)).collect()
    }

    /// Who relays for a peer what is sent to this address.
    pub(super) fn relay_at(&self, peer: &NodeId, at: SocketAddr) -> Option<NodeId> {
        self.ways_to(peer).find(|(_, number)| self.relays.address(*number) == at).map(|(by, _)| by)
    }

    fn ways_to(&self, peer: &NodeId) -> impl Iterator<Item = (NodeId, PeerNumber)> {
        let all = (*peer, NodeId([0; 16]))..=(*peer, NodeId([u8::MAX; 16]));
        self.ways.range(all).map(|((_, by), number)| (*by, *number))
    }

    pub(super) fn forget(&mut self, peer: &NodeId) {
        // Those by it close by themselves, and who is sent by them has to be told first.
        self.ways.retain(|(to, _), _| to != peer);
        self.numbers.remove(peer);
        self.keys.remove(peer);
    }

    /// Lets go of all relays.
    pub(super) fn cut(&self) {
        self.relays.set(Plan::default());
    }

    /// Looks which region is to be home, by how far they are; whether that is another.
    pub(super) fn choose_home(
        &mut self,
        netmap: &Netmap,
        distance: impl Fn(RegionId) -> Option<Duration>,
        now: Timestamp,
    ) -> bool {
        let serves = self.relays.home().is_some();
        self.home.choose(&netmap.regions, distance, serves, now)
    }

    /// By what packets to a peer left for its relay the last time.
    pub(super) fn way(&self, peer: &NodeId) -> Option<&'static str> {
        self.relays.way(*self.numbers.get(peer)?)
    }

    /// Tells the relays' task whom it serves; `nat64` is how the host reaches IPv4 without
    /// having it, `engine` the WireGuard port, `local` the host's own addresses.
    pub(super) fn plan(
        &mut self,
        netmap: &Netmap,
        nat64: Option<Prefix>,
        keys: &KeyRing,
        engine: u16,
        local: &[IpNet],
    ) {
        let Some(identity) = keys.identity() else { return };
        let mut peers = BTreeMap::new();
        let used: BTreeSet<_> = self.numbers.values().chain(self.ways.values()).copied().collect();
        let mut free = (0..).map(PeerNumber).filter(|number| !used.contains(number));
        for peer in netmap.peers.values() {
            let known = self.numbers.get(&peer.id).copied();
            let Some(number) = known.or_else(|| free.next()) else { continue };
            self.numbers.insert(peer.id, number);
            let (current, former) = self.keys.entry(peer.id).or_insert((peer.key, None));
            if *current != peer.key {
                *former = Some(std::mem::replace(current, peer.key));
            }
            let keys = [Some(peer.key), peer.next_key, *former].into_iter().flatten().collect();
            let kinds = netmap.path_kinds(&peer.id);
            let calls_only = !kinds.has(PathKind::Relay) && kinds.has(PathKind::PeerRelay);
            peers.insert(number, RelayPeer { keys, home: peer.home, calls_only });
        }
        let peer_relays = peer_relays(netmap);
        let pairs = peers_by_relays(netmap, &peer_relays);
        // What is sent to one that has just closed goes by regions' relays, until its peer is sent elsewhere.
        self.ways.retain(|pair, number| pairs.contains(pair) || self.open.contains(number));
        for pair in pairs {
            if !self.ways.contains_key(&pair)
                && let Some(number) = free.next()
            {
                self.ways.insert(pair, number);
            }
        }
        let way = |((to, by), number): (&(NodeId, NodeId), &PeerNumber)| {
            Some((*number, Way { to: *self.numbers.get(to)?, by: *by }))
        };
        self.relays.set(Plan {
            regions: nat64
                .map_or_else(|| netmap.regions.clone(), |prefix| prefix.regions(&netmap.regions)),
            nat64,
            ways: self.ways.iter().filter_map(way).collect(),
            peer_relays,
            home: self.home.region(),
            tickets: keys.tickets(netmap),
            identity: Some(identity.node_key.clone()),
            peers,
            engine,
            local: local.to_vec(),
        });
    }
}

/// The most peers by which this node has packets relayed: the first by their ids, so that two nodes that have
/// the same ones meet.
const MOST_RELAYS: usize = 4;

/// The peers that relay for this node, each with the addresses at which it may be found.
fn peer_relays(netmap: &Netmap) -> BTreeMap<NodeId, Vec<Relay>> {
    let inside = [IpNet::from(netmap.network.v4), netmap.network.v6.into()];
    let serving = netmap.relaying.values().filter(|relaying| relaying.serves);
    let known = serving.filter_map(|relaying| netmap.peers.get(&relaying.peer));
    let found = known.filter_map(|peer| Some((peer.id, found_at(peer, &inside)?)));
    found.take(MOST_RELAYS).collect()
}

/// Where a peer that relays may be found: at any address that it has told, the public ones first.
fn found_at(peer: &Peer, inside: &[IpNet]) -> Option<Vec<Relay>> {
    let offer = peer.relay.as_ref()?;
    let certificate = offer.certificate.clone()?;
    let outside = |ip: &IpAddr| !inside.iter().any(|net| net.contains(ip));
    let addresses: BTreeSet<_> =
        peer.endpoints.iter().map(SocketAddr::ip).filter(outside).collect();
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_by_key(is_private);
    let relay = |address| Relay {
        host: RELAY_NAME.to_owned(),
        addresses: vec![address],
        tls_port: offer.port,
        quic_port: None,
        certificates: vec![certificate.clone()],
    };
    let relays: Vec<_> = addresses.into_iter().map(relay).collect();
    (!relays.is_empty()).then_some(relays)
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // Of carriers' own networks, too.
            v4.is_private() || v4.is_link_local() || (a, b & 0xc0) == (100, 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Each other peer with each of those that relay: whether that relays for the peer as well shows when the
/// peer is there.
fn peers_by_relays(
    netmap: &Netmap,
    relays: &BTreeMap<NodeId, Vec<Relay>>,
) -> BTreeSet<(NodeId, NodeId)> {
    let may = |peer: &&Peer| netmap.path_kinds(&peer.id).has(PathKind::PeerRelay);
    let with_probes = netmap.peers.values().filter(|peer| peer.disco.is_some()).filter(may);
    let by = |to: NodeId| relays.keys().filter(move |by| **by != to).map(move |by| (to, *by));
    with_probes.flat_map(|peer| by(peer.id)).collect()
}
