//! The relay on a clock that is turned by hand.

mod admission;
mod lane_rates;
mod lanes;
mod mesh;
mod mesh_stories;
mod packets;
mod region;
mod revocation;
mod strangers;

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::key::PublicKey;
use proto::relay::{Batch, ClientFrame, Proof, Refusal, RelayFrame, proof_message};
use proto::ticket::{
    ControlKeyId, NetworkId, SignedTicket, SigningKey, Ticket, UnixSeconds, VerifyingKey,
};

use crate::core::{
    Admitted, ClientId, Command, ControlKeys, Delivery, LinkId, Made, Now, Output, Relay, Settings,
    Switch, ToLink, Way, admit,
};

const NONCE: [u8; 32] = [1; 32];
const EXPORTER: [u8; 32] = [2; 32];
const EPOCH: UnixSeconds = UnixSeconds(1_000_000);

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).unwrap()
}

fn control() -> SigningKey {
    signing_key(200)
}

fn keys() -> ControlKeys {
    [(ControlKeyId(1), control().verifying_key())].into_iter().collect()
}

fn node_key(node: u8) -> PublicKey {
    PublicKey::from([node; 32])
}

fn identity(node: u8) -> VerifyingKey {
    signing_key(node).verifying_key()
}

fn ticket(network: u8, node: u8) -> Ticket {
    Ticket {
        network: NetworkId([network; 16]),
        node: node_key(node),
        identity: identity(node),
        not_after: UnixSeconds(EPOCH.0 + 3600),
        node_rate: 0,
        network_rate: 0,
        lanes: 0,
    }
}

fn proof(ticket: SignedTicket, by: u8) -> Proof {
    Proof { ticket, signature: signing_key(by).sign(&proof_message(&NONCE, &EXPORTER)) }
}

fn admitted(ticket: &Ticket, by: u8, wall: UnixSeconds) -> Result<Admitted, Refusal> {
    let proof = proof(ticket.sign(ControlKeyId(1), &control()), by);
    admit(&keys(), &proof, &NONCE, &EXPORTER, wall)
}

/// A relay, its table of lanes, and what it wanted done.
struct Scene {
    relay: Relay,
    switch: Switch,
    start: Instant,
    now: Now,
    delivered: Vec<(ClientId, Delivery)>,
    closed: Vec<ClientId>,
    datagrams: Vec<Made>,
    linked: Vec<(LinkId, ToLink)>,
    closed_links: Vec<LinkId>,
    ended: bool,
    /// Whether connections write at once what they are given.
    writing: bool,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let now = Now { at: Instant::now(), wall: EPOCH };
        Self {
            relay: Relay::new(settings, &[9; 32], now.at),
            switch: Switch::new(now.at),
            start: now.at,
            now,
            delivered: Vec::new(),
            closed: Vec::new(),
            datagrams: Vec::new(),
            linked: Vec::new(),
            closed_links: Vec::new(),
            ended: false,
            writing: true,
        }
    }

    fn with_lanes() -> Self {
        let lane_addresses = vec!["198.51.100.1:3478".parse().unwrap()];
        Self::new(Settings { lane_addresses, ..Settings::default() })
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Relay, Now, &mut Output) -> T) -> T {
        let mut out = Output::default();
        let result = work(&mut self.relay, self.now, &mut out);
        while !out.commands.is_empty() || !out.datagrams.is_empty() {
            self.datagrams.append(&mut out.datagrams);
            for command in std::mem::take(&mut out.commands) {
                match command {
                    Command::Deliver(to, delivery) => {
                        if self.writing {
                            self.relay.written(to, delivery.cost(), self.now.at, &mut out);
                        }
                        self.delivered.push((to, delivery));
                    }
                    Command::Close(client) => self.closed.push(client),
                    Command::Link(to, delivery) => {
                        if self.writing {
                            self.relay.link_written(to, delivery.cost(), self.now.at, &mut out);
                        }
                        self.linked.push((to, delivery));
                    }
                    Command::CloseLink(link) => self.closed_links.push(link),
                    Command::Switch(change) => self.switch.change(change),
                    Command::End => self.ended = true,
                }
            }
        }
        result
    }

    fn try_join(&mut self, ticket: &Ticket, by: u8) -> Result<ClientId, Refusal> {
        let admitted = admitted(ticket, by, self.now.wall)?;
        self.run(|relay, now, out| relay.join(&admitted, Way::Quic, now, out))
    }

    fn join(&mut self, network: u8, node: u8) -> ClientId {
        let client = self.try_join(&ticket(network, node), node).unwrap();
        assert!(matches!(self.frames(client)[..], [RelayFrame::Welcome(_)]));
        client
    }

    fn frame(&mut self, from: ClientId, frame: &ClientFrame<'_>) {
        let chunk = match frame {
            ClientFrame::Send(_, batch) => Bytes::copy_from_slice(batch.bytes()),
            _ => Bytes::new(),
        };
        // As it comes from a socket: the payload is a part of the chunk.
        let frame = match frame {
            ClientFrame::Send(to, batch) => {
                ClientFrame::Send(*to, Batch::new(&chunk, batch.segment()).unwrap())
            }
            other => other.clone(),
        };
        self.run(|relay, now, out| relay.frame(from, &frame, &chunk, now, out));
    }

    fn send(&mut self, from: ClientId, to: u8, bytes: &[u8], segment: usize) {
        let batch = Batch::new(bytes, segment).unwrap();
        self.frame(from, &ClientFrame::Send(node_key(to), batch));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some(at) = self.relay.poll_timeout().filter(|at| *at <= end) {
            self.set_clock(at.max(self.now.at));
            self.run(|relay, now, out| relay.handle_timeout(now, out));
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: Instant) {
        // The wall's seconds are whole, like those of tickets.
        let wall = UnixSeconds(EPOCH.0 + at.duration_since(self.start).as_secs());
        self.now = Now { at, wall };
    }

    /// The frames, not packets, that a client was given since this was asked last.
    fn frames(&mut self, client: ClientId) -> Vec<RelayFrame<'static>> {
        let mut frames = Vec::new();
        self.delivered.retain(|(to, delivery)| match delivery {
            Delivery::Control(frame) if *to == client => {
                frames.push(frame.clone());
                false
            }
            _ => true,
        });
        frames
    }

    /// The packets that a client was given: sender, bytes and segment.
    fn packets(&mut self, client: ClientId) -> Vec<(PublicKey, Vec<u8>, usize)> {
        let mut packets = Vec::new();
        self.delivered.retain(|(to, delivery)| match delivery {
            Delivery::Packet(packet) if *to == client => {
                packets.push((packet.from, packet.payload.to_vec(), packet.segment.into()));
                false
            }
            _ => true,
        });
        packets
    }
}
