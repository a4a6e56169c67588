//! Two engines with a session between them, for benches and fuzz targets (feature `pair`).
#![allow(clippy::missing_panics_doc, reason = "scaffolding: what cannot fail is expected not to")]

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::IndexMask;
use proto::key::PrivateKey;
use proto::message::Message;
use proto::uapi::{AllowedIpChange, PeerChange, Set};

use crate::noise::Tunnel;
use crate::offload::VnetHeader;
use crate::offload::split::Cut;
use crate::{Ecn, Endpoint, Engine, Output, Packets, Place, Settings, Timestamp};

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

    /// Seals a packet into `datagram`, without the engine around it; gives its length.
    pub fn seal(&mut self, packet: &[u8], datagram: &mut [u8]) -> usize {
        self.tunnel().seal(packet, datagram).expect("a session")
    }

    /// Opens a datagram into `packet`, without the engine around it; gives its length.
    pub fn open(&mut self, datagram: &[u8], packet: &mut [u8]) -> usize {
        let Some(Message::Data { receiver, counter }) = Message::parse(datagram) else {
            panic!("not a data message");
        };
        let opened = self.tunnel().open(receiver, counter, datagram, packet);
        opened.ok().and_then(|opened| opened.packet).expect("an authentic packet")
    }

    fn tunnel(&mut self) -> &mut Tunnel {
        let peer = self.engine.peers.first_mut().and_then(Option::as_mut).expect("a peer");
        peer.tunnel.as_mut().expect("a tunnel")
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

/// Cuts the super-packet that is the first `len` bytes of `buffer`; `take` is given each packet as
/// [`Engine::handle_packet`] would be.
pub fn split(vnet: &VnetHeader, buffer: &mut [u8], len: usize, take: impl FnMut(&mut [u8], usize)) {
    let gso = vnet.gso.expect("a super-packet");
    let cut = Cut::new(vnet, gso, &buffer[..len]).expect("what its header says");
    cut.each(buffer, len, take);
}

/// Leaves a packet for the host, as if it had just been opened.
pub fn deliver(packet: &[u8], packets: &mut Packets) {
    packets.slot(packet.len()).copy_from_slice(packet);
    packets.commit(packet.len());
}
