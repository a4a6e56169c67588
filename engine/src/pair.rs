//! Two engines with a session between them, for benches and fuzz targets (feature `pair`).
#![allow(clippy::missing_panics_doc, reason = "scaffolding: what cannot fail is expected not to")]

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::IndexMask;
use proto::key::PrivateKey;
use proto::uapi::{AllowedIpChange, PeerChange, Set};

use crate::{Ecn, Endpoint, Engine, Output, Place, Settings, Timestamp};

/// When all of it happens.
pub const NOW: Timestamp = Timestamp::from_epoch(Duration::from_secs(1000));

/// One end.
pub struct Node {
    /// The engine.
    pub engine: Engine,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it wants done.
    pub out: Output,
}

impl Node {
    fn new(number: u8) -> Self {
        let mut engine = Engine::new(Settings {
            mtu: 1420,
            seed: number.into(),
            place: Place::alone(IndexMask::new(number.into())),
        });
        let mut out = Output::default();
        let key = PrivateKey::from([number; 32]);
        let set = Set { private_key: Some(Some(key)), ..Set::default() };
        engine.configure(&set, NOW, &mut out).expect("a key");
        let endpoint = SocketAddr::from(([192, 0, 2, number], 51820)).into();
        Self { engine, endpoint, out }
    }

    fn befriend(&mut self, other: &Self) {
        let everything = ["0.0.0.0/0", "::/0"].map(|n| AllowedIpChange::Add(n.parse().expect(n)));
        let change = PeerChange {
            endpoint: Some(other.endpoint.address),
            allowed_ips: everything.to_vec(),
            ..PeerChange::new(other.engine.public_key().expect("a key"))
        };
        let set = Set { peers: vec![change], ..Set::default() };
        self.engine.configure(&set, NOW, &mut self.out).expect("a peer");
    }

    /// Takes a datagram, and computes what it asks for.
    pub fn receive(&mut self, from: Endpoint, datagram: &[u8]) {
        self.engine.handle_datagram(from, Ecn::NotCapable, datagram, NOW, &mut self.out);
        self.engine.handle_timeout(NOW, &mut self.out);
    }

    /// The datagrams that wait.
    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        let datagrams = self
            .out
            .transmits
            .iter()
            .flat_map(|batch| batch.datagrams().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        self.out.transmits.clear();
        datagrams
    }
}

/// Two ends with a session between them; nothing waits in either's output.
#[must_use]
pub fn connected() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.befriend(&b);
    b.befriend(&a);
    let mut packet = [0u8; 40];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    a.engine.handle_packet(&mut packet, 20, NOW, &mut a.out);
    for _ in 0..3 {
        for datagram in a.take_datagrams() {
            b.receive(a.endpoint, &datagram);
        }
        for datagram in b.take_datagrams() {
            a.receive(b.endpoint, &datagram);
        }
    }
    assert_eq!(b.out.packets.iter().count(), 1, "the pair connects");
    b.out.packets.clear();
    (a, b)
}
