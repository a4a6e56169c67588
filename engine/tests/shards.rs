//! A node of several shards: whatever arrives wherever, it is the node that answers.
#![allow(clippy::unwrap_used, reason = "a test")]

mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::{IndexMask, ShardId, Shards};
use engine::{Ecn, Engine, Output, PADDING, Place, Settings, Timestamp};
use pair::{Node, START, packet, peer};
use proptest::prelude::*;
use proto::key::{PrivateKey, PublicKey};
use proto::uapi::{PeerChange, Set};

const PEERS: u8 = 5;
const HUB: u8 = 100;

/// A node of several shards, its host's end and its wire's end.
struct Hub {
    engines: Vec<Engine>,
    outs: Vec<Output>,
    address: SocketAddr,
    delivered: Vec<Vec<u8>>,
    sent: Vec<(SocketAddr, Vec<u8>)>,
    now: Timestamp,
}

impl Hub {
    fn new(count: u32) -> Self {
        let (mask, shards) = (IndexMask::new(0x00ab_cdef), Shards::new(count).unwrap());
        let engine = |shard| {
            let place = Place { shard: ShardId(shard), shards, mask };
            Engine::new(Settings { mtu: pair::MTU, seed: shard.into(), place })
        };
        let mut hub = Self {
            engines: (0..count).map(engine).collect(),
            outs: Vec::new(),
            address: SocketAddr::from(([192, 0, 2, HUB], 51820)),
            delivered: Vec::new(),
            sent: Vec::new(),
            now: START,
        };
        hub.configure(&Set {
            private_key: Some(Some(PrivateKey::from([HUB; 32]))),
            ..Set::default()
        });
        hub
    }

    fn public(&self) -> PublicKey {
        self.engines[0].public_key().unwrap()
    }

    fn configure(&mut self, set: &Set) {
        self.outs.resize_with(self.engines.len(), Output::default);
        for (engine, out) in self.engines.iter_mut().zip(&mut self.outs) {
            engine.configure(set, self.now, out).unwrap();
        }
        self.settle();
    }

    /// Does all that the engines want done, handovers too, until there is nothing.
    fn settle(&mut self) {
        loop {
            for (engine, out) in self.engines.iter_mut().zip(&mut self.outs) {
                engine.handle_timeout(self.now, out);
                for batch in out.transmits.iter() {
                    self.sent.extend(batch.datagrams().map(|one| (batch.to.address, one.to_vec())));
                }
                out.transmits.clear();
                self.delivered.extend(out.packets.iter().map(<[u8]>::to_vec));
                out.packets.clear();
            }
            let handovers: Vec<_> =
                self.outs.iter_mut().flat_map(|out| out.handovers.drain(..)).collect();
            let busy =
                |engine: &Engine| engine.poll_timeout().is_some_and(|(at, _)| at <= self.now);
            if handovers.is_empty() && !self.engines.iter().any(busy) {
                return;
            }
            for handover in handovers {
                let to = handover.to.0 as usize;
                self.engines[to].handle_handover(handover, self.now, &mut self.outs[to]);
            }
        }
    }

    fn send(&mut self, at: usize, packet: &[u8]) {
        let at = at % self.engines.len();
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + PADDING, 0xff);
        self.engines[at].handle_packet(&mut buffer, packet.len(), self.now, &mut self.outs[at]);
        self.settle();
    }

    fn receive(&mut self, at: usize, from: SocketAddr, datagram: &[u8]) {
        let at = at % self.engines.len();
        let out = &mut self.outs[at];
        self.engines[at].handle_datagram(from.into(), Ecn::NotCapable, datagram, self.now, out);
        self.settle();
    }

    fn reshard(&mut self, count: u32) {
        let shards = Shards::new(count).unwrap();
        self.engines = Engine::reshard(std::mem::take(&mut self.engines), shards, self.now);
        self.outs.clear();
        self.outs.resize_with(self.engines.len(), Output::default);
        assert_eq!(self.engines.len(), count as usize);
    }

    fn dropped(&self) -> u64 {
        self.engines
            .iter()
            .flat_map(|engine| engine.drops().iter())
            .map(|(_, packets)| packets)
            .sum()
    }

    fn handed_over(&self) -> u64 {
        self.engines.iter().map(Engine::handed_over).sum()
    }

    /// When each peer's last handshake was, by slot: each peer is reported by one shard only.
    fn handshakes(&self) -> Vec<Option<Timestamp>> {
        let mut peers: Vec<_> = self.engines.iter().flat_map(Engine::peers).collect();
        peers.sort_by_key(|peer| peer.slot);
        peers.into_iter().map(|peer| peer.last_handshake).collect()
    }
}

/// Carries datagrams until there are none; `at` chooses the shard at which each arrives.
fn settle(hub: &mut Hub, nodes: &mut [Node], at: &mut impl FnMut() -> usize) {
    loop {
        let from_hub = std::mem::take(&mut hub.sent);
        let from_nodes: Vec<_> =
            nodes.iter_mut().map(|node| (node.address, std::mem::take(&mut node.sent))).collect();
        if from_hub.is_empty() && from_nodes.iter().all(|(_, sent)| sent.is_empty()) {
            return;
        }
        for (to, datagram) in from_hub {
            let node = nodes.iter_mut().find(|node| node.address == to).unwrap();
            node.receive(hub.address, &datagram, hub.now);
        }
        for (from, sent) in from_nodes {
            for (_, datagram) in sent {
                hub.receive(at(), from, &datagram);
            }
        }
    }
}

fn star(shards: u32) -> (Hub, Vec<Node>) {
    let mut hub = Hub::new(shards);
    let mut nodes: Vec<_> = (1..=PEERS).map(Node::new).collect();
    let mut peers = Vec::new();
    for (number, node) in (1..).zip(&mut nodes) {
        peers.push(PeerChange { endpoint: Some(node.address), ..peer(node.public(), number) });
        node.change(START, PeerChange { endpoint: Some(hub.address), ..peer(hub.public(), HUB) });
    }
    hub.configure(&Set { peers, ..Set::default() });
    (hub, nodes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_lost_wherever_it_arrives_and_however_shards_change(
        first in 1u32..6,
        steps in proptest::collection::vec((1u32..6, any::<[u8; 8]>()), 1..5),
        seed in any::<u64>(),
    ) {
        let (mut hub, mut nodes) = star(first);
        let mut state = seed;
        let mut at = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let mut known = None;
        for (count, payload) in steps {
            for number in 1..=PEERS {
                // Whoever begins: the hub asks for half of the sessions.
                if number % 2 == 0 {
                    hub.send(at(), &packet(HUB, number, &payload));
                    settle(&mut hub, &mut nodes, &mut at);
                    nodes[usize::from(number) - 1].send(&packet(number, HUB, &payload), hub.now);
                } else {
                    nodes[usize::from(number) - 1].send(&packet(number, HUB, &payload), hub.now);
                    settle(&mut hub, &mut nodes, &mut at);
                    hub.send(at(), &packet(HUB, number, &payload));
                }
                settle(&mut hub, &mut nodes, &mut at);
            }
            let mut wanted: Vec<_> = (1..=PEERS).map(|n| packet(n, HUB, &payload)).collect();
            let mut got = std::mem::take(&mut hub.delivered);
            got.sort();
            wanted.sort();
            prop_assert_eq!(got, wanted);
            for (number, node) in (1..).zip(&mut nodes) {
                prop_assert_eq!(std::mem::take(&mut node.delivered), [packet(HUB, number, &payload)]);
            }
            prop_assert_eq!(hub.dropped(), 0);
            let handshakes = hub.handshakes();
            prop_assert_eq!(handshakes.len(), usize::from(PEERS));
            prop_assert_eq!(known.get_or_insert(handshakes.clone()), &handshakes, "sessions live on");
            hub.now = hub.now + Duration::from_secs(1);
            hub.reshard(count);
        }
    }
}

#[test]
fn what_arrives_at_its_shard_is_not_handed_over() {
    let (mut hub, mut nodes) = star(1);
    nodes[0].send(&packet(1, HUB, b"hello"), hub.now);
    settle(&mut hub, &mut nodes, &mut || 0);
    assert_eq!((hub.delivered.len(), hub.handed_over()), (1, 0));
    hub.reshard(2);
    // The first peer's slot is 0.
    nodes[0].send(&packet(1, HUB, b"hello"), hub.now);
    settle(&mut hub, &mut nodes, &mut || 0);
    assert_eq!((hub.delivered.len(), hub.handed_over()), (2, 0));
    nodes[0].send(&packet(1, HUB, b"hello"), hub.now);
    settle(&mut hub, &mut nodes, &mut || 1);
    assert_eq!((hub.delivered.len(), hub.handed_over()), (3, 1));
}

#[test]
fn packets_that_wait_for_a_session_move_too() {
    let (mut hub, mut nodes) = star(3);
    hub.send(0, &packet(HUB, 2, b"waits"));
    let initiation = std::mem::take(&mut hub.sent);
    hub.reshard(2);
    hub.sent = initiation;
    settle(&mut hub, &mut nodes, &mut || 1);
    assert_eq!(nodes[1].delivered, [packet(HUB, 2, b"waits")]);
}
