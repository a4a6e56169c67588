//! Two engines, a link between them and a virtual clock.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by test binaries")]

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::{DropReason, IndexMask};
use engine::{Ecn, Engine, Output, Place, Settings, Timestamp};
use proto::key::{PresharedKey, PrivateKey, PublicKey};
use proto::uapi::{AllowedIpChange, PeerChange, Set};

pub const MTU: u16 = 1420;
/// Where tests start: boringtun's zero is a moment like any other, ours is long past it.
pub const START: Timestamp = Timestamp::from_epoch(Duration::from_secs(1_000_000));

/// An engine with its address, and what it has sent and delivered.
pub struct Node {
    pub engine: Engine,
    pub address: SocketAddr,
    pub private: PrivateKey,
    /// Datagrams that left, with where to.
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    /// Packets that were delivered to the host.
    pub delivered: Vec<Vec<u8>>,
    out: Output,
}

impl Node {
    pub fn new(number: u8) -> Self {
        let mut engine = Engine::new(Settings {
            mtu: MTU,
            seed: u64::from(number),
            place: Place::alone(IndexMask::new(u32::from(number) * 0x1_0101)),
        });
        let private = PrivateKey::from([number; 32]);
        let set = Set { private_key: Some(Some(private.clone())), ..Set::default() };
        let mut out = Output::default();
        engine.configure(&set, START, &mut out).unwrap();
        let address = SocketAddr::from(([192, 0, 2, number], 51820));
        Self { engine, address, private, sent: Vec::new(), delivered: Vec::new(), out }
    }

    pub fn public(&self) -> PublicKey {
        self.engine.public_key().expect("a key")
    }

    pub fn configure(&mut self, set: &Set, now: Timestamp) {
        self.engine.configure(set, now, &mut self.out).unwrap();
        self.engine.handle_timeout(now, &mut self.out);
        self.collect();
    }

    pub fn change(&mut self, now: Timestamp, change: PeerChange) {
        self.configure(&Set { peers: vec![change], ..Set::default() }, now);
    }

    pub fn send(&mut self, packet: &[u8], now: Timestamp) {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + engine::PADDING, 0xff);
        self.engine.handle_packet(&mut buffer, packet.len(), now, &mut self.out);
        self.collect();
    }

    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8], now: Timestamp) {
        self.engine.handle_datagram(from.into(), Ecn::NotCapable, datagram, now, &mut self.out);
        self.engine.handle_timeout(now, &mut self.out);
        self.collect();
    }

    pub fn pass_time(&mut self, now: Timestamp) {
        self.engine.handle_timeout(now, &mut self.out);
        self.collect();
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.drops().get(reason)
    }

    fn collect(&mut self) {
        for batch in self.out.transmits.iter() {
            self.sent.extend(batch.datagrams().map(|one| (batch.to.address, one.to_vec())));
        }
        self.delivered.extend(self.out.packets.iter().map(<[u8]>::to_vec));
        self.out.transmits.clear();
        self.out.packets.clear();
    }
}

/// Two nodes that are each other's peer: `a` is 10.0.0.1 and fd00::1, `b` ends in 2.
pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub now: Timestamp,
}

impl Pair {
    /// Only `a` knows where the other is.
    pub fn new() -> Self {
        let (mut a, mut b) = (Node::new(1), Node::new(2));
        a.change(START, PeerChange { endpoint: Some(b.address), ..peer(b.public(), 2) });
        b.change(START, peer(a.public(), 1));
        Self { a, b, now: START }
    }

    pub fn connected() -> Self {
        let mut pair = Self::new();
        pair.a.send(&packet(1, 2, b"hello"), pair.now);
        pair.settle();
        assert_eq!(pair.b.delivered.len(), 1, "the pair connects");
        pair.b.delivered.clear();
        pair
    }

    pub fn preshared(&mut self, a: Option<[u8; 32]>, b: Option<[u8; 32]>) {
        let (for_a, for_b) = (self.b.public(), self.a.public());
        let with = |key: Option<[u8; 32]>, of| PeerChange {
            preshared_key: Some(key.map(PresharedKey::from)),
            ..PeerChange::new(of)
        };
        self.a.change(self.now, with(a, for_a));
        self.b.change(self.now, with(b, for_b));
    }

    /// Carries datagrams both ways until there are none.
    pub fn settle(&mut self) {
        while !self.a.sent.is_empty() || !self.b.sent.is_empty() {
            for (to, datagram) in std::mem::take(&mut self.a.sent) {
                if to == self.b.address {
                    self.b.receive(self.a.address, &datagram, self.now);
                }
            }
            for (to, datagram) in std::mem::take(&mut self.b.sent) {
                if to == self.a.address {
                    self.a.receive(self.b.address, &datagram, self.now);
                }
            }
        }
    }

    /// Lets time pass timer by timer; `deliver` says whether the link works meanwhile.
    pub fn advance(&mut self, time: Duration, deliver: bool) {
        let end = self.now + time;
        loop {
            let next = [&self.a, &self.b]
                .into_iter()
                .filter_map(|node| node.engine.poll_timeout())
                .map(|(at, _)| at)
                .min();
            let Some(at) = next.filter(|&at| at <= end) else { break };
            self.now = self.now.max(at);
            self.a.pass_time(self.now);
            self.b.pass_time(self.now);
            if deliver {
                self.settle();
            }
        }
        self.now = end;
    }
}

/// A peer that owns 10.0.0.N and fd00::N.
pub fn peer(key: PublicKey, number: u8) -> PeerChange {
    let networks = [format!("10.0.0.{number}/32"), format!("fd00::{number}/128")];
    PeerChange {
        allowed_ips: networks.map(|n| AllowedIpChange::Add(n.parse().unwrap())).to_vec(),
        ..PeerChange::new(key)
    }
}

/// An IPv4 packet of UDP's protocol number from 10.0.0.`from` to 10.0.0.`to`.
pub fn packet(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([10, 0, 0, from, 10, 0, 0, to]);
    packet.extend(payload);
    packet
}

/// The same for IPv6, from fd00::`from` to fd00::`to`.
pub fn packet6(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], 17, 64];
    for number in [from, to] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]);
    }
    packet.extend(payload);
    packet
}
