//! Steps of a session: seal and open by themselves, and the engine's whole way out and in.

use std::hint::black_box;

use engine::pair::{NOW, Node, connected};
use engine::{Ecn, HostOffload, PADDING, Packets};

use crate::packets::{SuperPacket, Transport, padded, stream};
use crate::{Step, Work};

/// What one segmented send carries.
const BATCH: usize = 64;
/// What sealing adds, and more.
const ROOM: usize = 128;

pub(crate) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, joined, len) in [("64", "64 joined", 64), ("1400", "1400 joined", 1400)] {
        let inward = |offload| In::new(len, offload);
        steps.extend([
            Step::new("seal", name, BATCH, Seal::new(len)),
            Step::new("open", name, BATCH, Open::new(len)),
            Step::new("engine out", name, BATCH, Out::new(len)),
            Step::new("engine in", name, BATCH, inward(HostOffload::None)),
            Step::new("engine in", joined, BATCH, inward(HostOffload::TcpAndUdp)),
        ]);
    }
    let whole = SuperPacket::new(Transport::Tcp);
    let packets = whole.packets;
    let work = OutOffloaded { node: connected().0, whole };
    steps.push(Step::new("engine out", "super-packet", packets, work));
    steps
}

struct Seal {
    node: Node,
    packet: Vec<u8>,
    datagram: Vec<u8>,
}

impl Seal {
    fn new(len: usize) -> Self {
        Self { node: connected().0, packet: padded(len), datagram: vec![0; len + ROOM] }
    }
}

impl Work for Seal {
    fn run(&mut self) {
        let packet = &self.packet[..self.packet.len() - PADDING];
        for _ in 0..BATCH {
            black_box(self.node.seal(packet, &mut self.datagram));
        }
    }
}

/// Each datagram can be opened but once: every round has new ones.
struct Open {
    from: Node,
    to: Node,
    packet: Vec<u8>,
    datagrams: Vec<Vec<u8>>,
    opened: Vec<u8>,
}

impl Open {
    fn new(len: usize) -> Self {
        let (from, to) = connected();
        let mut packet = padded(len);
        packet.truncate(len);
        let datagrams = vec![vec![0; len + ROOM]; BATCH];
        Self { from, to, packet, datagrams, opened: vec![0; len + ROOM] }
    }
}

impl Work for Open {
    fn prepare(&mut self) {
        for datagram in &mut self.datagrams {
            datagram.resize(self.packet.len() + ROOM, 0);
            let len = self.from.seal(&self.packet, datagram);
            datagram.truncate(len);
        }
    }

    fn run(&mut self) {
        for datagram in &self.datagrams {
            black_box(self.to.open(datagram, &mut self.opened));
        }
    }
}

struct Out {
    node: Node,
    buffer: Vec<u8>,
}

impl Out {
    fn new(len: usize) -> Self {
        Self { node: connected().0, buffer: padded(len) }
    }
}

impl Work for Out {
    fn run(&mut self) {
        let Node { engine, out, .. } = &mut self.node;
        let len = self.buffer.len() - PADDING;
        for _ in 0..BATCH {
            engine.handle_packet(&mut self.buffer, len, NOW, out);
        }
        sent(&mut self.node, BATCH);
    }
}

struct OutOffloaded {
    node: Node,
    whole: SuperPacket,
}

impl Work for OutOffloaded {
    fn prepare(&mut self) {
        self.whole.refresh();
    }

    fn run(&mut self) {
        let Node { engine, out, .. } = &mut self.node;
        let SuperPacket { vnet, buffer, len, packets, .. } = &mut self.whole;
        engine.handle_offloaded(vnet, buffer, *len, NOW, out);
        sent(&mut self.node, *packets);
    }
}

/// Forgets what was sent, if it is as much as it must be.
fn sent(node: &mut Node, count: usize) {
    let transmits = &mut node.out.transmits;
    let datagrams = transmits.iter().map(|batch| black_box(batch).datagrams().count());
    assert_eq!(datagrams.sum::<usize>(), count, "datagrams sent");
    transmits.clear();
}

/// Consecutive segments of one TCP flow, joined if the host takes that.
struct In {
    from: Node,
    to: Node,
    segments: Vec<Vec<u8>>,
    joins: bool,
}

impl In {
    fn new(len: usize, offload: HostOffload) -> Self {
        let (from, mut to) = connected();
        to.out.packets = Packets::new(offload);
        let mut segments = stream(BATCH, len);
        for segment in &mut segments {
            segment.resize(len + PADDING, 0);
        }
        Self { from, to, segments, joins: offload != HostOffload::None }
    }
}

impl Work for In {
    fn prepare(&mut self) {
        let Node { engine, out, .. } = &mut self.from;
        out.transmits.clear();
        for segment in &mut self.segments {
            let len = segment.len() - PADDING;
            engine.handle_packet(segment, len, NOW, out);
        }
    }

    fn run(&mut self) {
        let Node { engine, out, .. } = &mut self.to;
        for batch in self.from.out.transmits.iter() {
            for datagram in batch.datagrams() {
                let from = self.from.endpoint;
                engine.handle_datagram(from, Ecn::NotCapable, datagram, NOW, out);
            }
        }
        let packets = out.packets.iter().map(black_box).count();
        assert!(if self.joins { packets <= 2 } else { packets == BATCH }, "{packets} packets");
        out.packets.clear();
    }
}
