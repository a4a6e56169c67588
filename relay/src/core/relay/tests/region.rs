//! Several relays and the wires between them, on one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto::mesh::{MeshFrame, RelayId};
use proto::relay::{Batch, ClientFrame, RelayFrame};

use super::{Scene, node_key};
use crate::core::{ClientId, Delivery, LinkId, Region, Settings, ToLink};

const TICK: Duration = Duration::from_millis(10);

/// Relays 0, 1, ... of one region.
pub(super) struct Fleet {
    pub(super) relays: Vec<Scene>,
    /// The ends of the wire between two, by who has the end and who the other.
    ends: BTreeMap<(usize, usize), LinkId>,
    /// Wires that carry nothing, without saying so.
    cut: BTreeSet<(usize, usize)>,
}

impl Fleet {
    pub(super) fn new(count: usize) -> Self {
        let relays = (0..count).map(|_| Scene::new(Settings::default())).collect();
        let mut fleet = Self { relays, ends: BTreeMap::new(), cut: BTreeSet::new() };
        let start = fleet.relays[0].start;
        for relay in &mut fleet.relays {
            relay.start = start;
            relay.set_clock(start);
        }
        let all: Vec<usize> = (0..count).collect();
        fleet.region(&all);
        for a in 0..count {
            for b in a + 1..count {
                fleet.link(a, b);
            }
        }
        fleet.settle();
        fleet
    }

    /// Says to all which relays are of the region.
    pub(super) fn region(&mut self, members: &[usize]) {
        for (at, relay) in self.relays.iter_mut().enumerate() {
            let others = members.iter().filter(|&&member| member != at && members.contains(&at));
            let region = Region {
                name: "here".to_owned(),
                own: members.contains(&at).then_some(id(at)),
                others: others.map(|&o| (id(o), ([192, 0, 2, 1], 444).into())).collect(),
            };
            relay.run(|relay, _, out| relay.set_region(region, out));
        }
    }

    /// Two relays have proven themselves to each other.
    pub(super) fn link(&mut self, a: usize, b: usize) -> bool {
        for (own, other) in [(a, b), (b, a)] {
            let up = self.relays[own].run(|relay, now, out| relay.link_up(id(other), now.at, out));
            let Some(up) = up else { return false };
            self.ends.insert((own, other), up);
        }
        true
    }

    pub(super) fn end(&self, own: usize, other: usize) -> LinkId {
        self.ends[&(own, other)]
    }

    /// From now on nothing passes between the two, either way.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub(super) fn mend(&mut self, a: usize, b: usize) {
        self.cut.retain(|&wire| wire != (a, b) && wire != (b, a));
        self.link(a, b);
        self.settle();
    }

    /// Carries what is on the wires until nothing is.
    pub(super) fn settle(&mut self) {
        loop {
            let mut carried = false;
            for own in 0..self.relays.len() {
                for (link, delivery) in std::mem::take(&mut self.relays[own].linked) {
                    let wire = self.ends.iter().find(|(wire, end)| wire.0 == own && **end == link);
                    if let Some((&(_, other), _)) = wire
                        && !self.cut.contains(&(own, other))
                    {
                        self.frame(other, own, &bytes(&delivery));
                        carried = true;
                    }
                }
                self.carry_ends(own);
            }
            if !carried {
                return;
            }
        }
    }

    /// A link that one end has closed is closed at the other, unless the wire is cut.
    fn carry_ends(&mut self, own: usize) {
        for link in std::mem::take(&mut self.relays[own].closed_links) {
            let wire = self.ends.iter().find(|(wire, end)| wire.0 == own && **end == link);
            let Some((&(_, other), _)) = wire else { continue };
            if !self.cut.contains(&(own, other)) {
                let end = self.end(other, own);
                self.relays[other].run(|relay, _, out| relay.link_down(end, out));
            }
        }
    }

    /// A relay is given bytes that are said to be a frame of another.
    pub(super) fn frame(&mut self, at: usize, from: usize, frame: &[u8]) {
        let chunk = Bytes::copy_from_slice(frame);
        let link = self.end(at, from);
        let read = MeshFrame::parse(&chunk).unwrap();
        self.relays[at].run(|relay, now, out| relay.link_frame(link, &read, &chunk, now.at, out));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let ticks = time.as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            self.relays.iter_mut().for_each(|relay| relay.pass(TICK));
            self.settle();
        }
    }

    /// A node that is at home at a relay.
    pub(super) fn home(&mut self, relay: usize, network: u8, node: u8) -> ClientId {
        let client = self.relays[relay].join(network, node);
        self.relays[relay].frame(client, &ClientFrame::Home(true));
        self.settle();
        client
    }

    /// Sends from a client; the bytes say what was sent.
    pub(super) fn send(&mut self, relay: usize, from: ClientId, to: u8, bytes: &[u8]) {
        self.relays[relay].send(from, to, bytes, bytes.len());
        self.settle();
    }

    /// What a client was given: senders and bytes.
    pub(super) fn got(&mut self, relay: usize, client: ClientId) -> Vec<(u8, Vec<u8>)> {
        let packets = self.relays[relay].packets(client);
        packets.into_iter().map(|(from, bytes, _)| (from.as_bytes()[0], bytes)).collect()
    }

    /// Whom a client was told to be gone.
    pub(super) fn gone(&mut self, relay: usize, client: ClientId) -> Vec<u8> {
        let frames = self.relays[relay].frames(client);
        let gone = frames.iter().filter_map(|frame| match frame {
            RelayFrame::PeerGone(peer) => Some(peer.as_bytes()[0]),
            _ => None,
        });
        gone.collect()
    }

    /// Nodes that a relay believes to be at another.
    pub(super) fn known(&self, relay: usize, other: usize) -> usize {
        let status = self.relays[relay].relay.mesh_status().unwrap();
        status.links.iter().find(|link| link.relay == id(other).0).unwrap().nodes
    }

    pub(super) fn is_up(&self, relay: usize, other: usize) -> bool {
        let status = self.relays[relay].relay.mesh_status().unwrap();
        status.links.iter().any(|link| link.relay == id(other).0 && link.up)
    }
}

pub(super) fn id(relay: usize) -> RelayId {
    RelayId(u32::try_from(relay).unwrap() + 1)
}

/// A delivery as the bytes that go over the wire.
fn bytes(delivery: &ToLink) -> Vec<u8> {
    let mut bytes = Vec::new();
    match delivery {
        Delivery::Control(frame) => frame.write(&mut bytes),
        Delivery::Packet(transit) => {
            let packet = &transit.packet;
            let batch = Batch::new(&packet.payload, packet.segment.into()).unwrap();
            let (network, to) = (transit.network, transit.to);
            MeshFrame::Packets { network, from: packet.from, to, batch }.write(&mut bytes);
        }
    }
    bytes
}

/// The bytes of packets that a relay may or may not send.
pub(super) fn packets(network: u8, from: u8, to: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let network = proto::ticket::NetworkId([network; 16]);
    let batch = Batch::single(b"x").unwrap();
    MeshFrame::Packets { network, from: node_key(from), to: node_key(to), batch }.write(&mut bytes);
    bytes
}
