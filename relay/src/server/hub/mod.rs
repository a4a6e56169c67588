//! The core and the port of lanes, with a thread of their own.
//!
//! A round of the thread: wait; read the clock, once; what the port has, switched at once; what
//! connections say; what time brings. Between its rounds a connection that has something to say does
//! that part of a round by itself. Nothing here waits for anybody.

mod handle;
mod kernel;
mod lanes;
mod mesh;
mod messages;
mod outbox;
mod stun;
mod thread;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use proto::relay::{ClientFrame, Framing, Refusal, split_frame};
use proto::ticket::UnixSeconds;
use tokio::sync::{mpsc, watch};

use super::kernel_switch::KernelSwitch;
use super::line::LineSender;
use super::mesh::ToLine;
use super::stun_sockets::StunSockets;
use super::udp::{Departure, Received, Udp};
use super::xdp::XdpStatus;
use crate::core::{
    ClientId, Command, Counters, LinkId, Made, Now, Output, Relay, Settings, Stun, Switch,
};
use handle::{Bell, Shared, State};
use outbox::Outbox;
use thread::{Ready, Thread};

pub use handle::Failed;
pub(super) use handle::{Ended, HubHandle};
pub(super) use messages::{Join, Offer, Report, ToConnection, ToHub};

/// Messages that wait for the hub; who has more to say waits.
const WAITING: usize = 4096;
/// Messages of connections in a round, so that lanes have their turn soon.
const MESSAGES: usize = 256;

/// How long a relay that drains stays when its last client has gone: what that sent goes on to others.
const LAST_PACKETS: Duration = Duration::from_millis(250);

pub(super) struct Hub {
    relay: Relay,
    switch: Switch,
    kernel: Option<KernelSwitch>,
    xdp: XdpStatus,
    stun: Stun,
    lanes: Counters,
    udp: Option<Udp>,
    lane_port: u16,
    stun_sockets: StunSockets,
    outbox: Outbox,
    inbox: mpsc::Receiver<ToHub>,
    lines: HashMap<ClientId, LineSender>,
    links: HashMap<LinkId, mpsc::UnboundedSender<ToLine>>,
    out: Output,
    now: Now,
    /// When its thread wakes by itself.
    wakes: Option<Instant>,
    draining: bool,
    /// When it ends, if no client is left for which to wait.
    leaves: Option<Instant>,
    ended: bool,
}

/// The sockets that are the hub's.
pub(super) struct Ports {
    pub(super) lanes: Option<Udp>,
    pub(super) stun: StunSockets,
}

/// Starts the hub's thread. Must be called within a tokio runtime.
pub(super) fn start(
    settings: Settings,
    ports: Ports,
    kernel: Option<KernelSwitch>,
    xdp: XdpStatus,
) -> Result<HubHandle> {
    let bell = Arc::new(Bell::new().context("eventfd")?);
    let (end, state) = watch::channel(State::Runs);
    let (ringer, until) = (bell.clone(), state.clone());
    tokio::spawn(async move { ringer.ring(until).await });
    let (messages, inbox) = mpsc::channel(WAITING);
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let now = clock();
    let Ports { lanes: udp, stun: stun_sockets } = ports;
    let lane_port = udp.as_ref().map(Udp::local_address).transpose()?.map_or(0, |at| at.port());
    let all = udp.iter().chain(stun_sockets.all().iter().map(|(_, socket)| socket));
    let ports = all.map(|socket| socket.as_fd().try_clone_to_owned()).collect::<io::Result<_>>();
    let ports = ports.context("waiting for the ports of lanes and STUN")?;
    let pairs = settings.stun.clone();
    let hub = Hub {
        relay: Relay::new(settings, &seed, now.at),
        switch: Switch::new(now.at),
        kernel,
        xdp,
        stun: Stun::new(pairs, now.at),
        lanes: Counters::default(),
        udp,
        lane_port,
        stun_sockets,
        outbox: Outbox::default(),
        inbox,
        lines: HashMap::new(),
        links: HashMap::new(),
        out: Output::default(),
        now,
        wakes: None,
        draining: false,
        leaves: None,
        ended: false,
    };
    let hub: Shared = Arc::new(Mutex::new(Some(hub)));
    let handle = HubHandle::new(hub.clone(), messages, bell.clone(), state);
    let thread = Thread { hub, bell, ports };
    std::thread::Builder::new()
        .name("relay-hub".to_owned())
        .spawn(move || {
            let ended = thread.run().map_or_else(
                |error| {
                    tracing::error!(%error, "the hub has failed");
                    State::Failed
                },
                |()| State::Drained,
            );
            // Whoever waited is gone if nobody hears it.
            let _ = end.send(ended);
        })
        .context("starting the hub's thread")?;
    Ok(handle)
}

impl Hub {
    fn round(&mut self, ready: Ready, received: &mut Received) {
        self.now = clock();
        if ready.lanes {
            self.receive(received);
        }
        if ready.stun {
            self.receive_stun(received);
        }
        self.obey();
        self.flush();
        if self.relay.poll_timeout().is_some_and(|due| due <= self.now.at) {
            let now = self.now;
            self.relay.handle_timeout(now, &mut self.out);
            self.apply();
            self.flush();
        }
    }

    /// How long its thread may rest; for ever, if there is nothing that time brings.
    fn rest(&mut self) -> Option<Duration> {
        // A message that came before the flag was set rang no bell.
        if !self.inbox.is_empty() {
            return Some(Duration::ZERO);
        }
        self.wakes = self.due();
        self.wakes.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Takes a message behind those that wait; gives it back if those are many.
    fn hear(&mut self, message: ToHub) -> Result<(), ToHub> {
        self.now = clock();
        if !self.inbox.is_empty() {
            self.obey();
        }
        let result = if self.inbox.is_empty() {
            self.take(message);
            self.apply();
            Ok(())
        } else {
            Err(message)
        };
        self.flush();
        result
    }

    /// Takes messages behind those that wait.
    fn hear_all(&mut self, messages: &mut Vec<ToHub>) {
        self.now = clock();
        while !self.inbox.is_empty() {
            self.obey();
        }
        for message in messages.drain(..) {
            self.take(message);
        }
        self.apply();
        self.flush();
    }

    fn due(&self) -> Option<Instant> {
        [self.relay.poll_timeout(), self.leaves].into_iter().flatten().min()
    }

    /// Whether its thread, which may sleep, has to do something before it wakes by itself.
    fn wants_its_thread(&self) -> bool {
        let due = self.due();
        self.ended || due.is_some_and(|due| self.wakes.is_none_or(|wakes| due < wakes))
    }

    /// Takes what connections and operators say.
    fn obey(&mut self) {
        for _ in 0..MESSAGES {
            let Ok(message) = self.inbox.try_recv() else { break };
            self.take(message);
        }
        self.apply();
    }

    fn take(&mut self, message: ToHub) {
        let (now, out) = (self.now, &mut self.out);
        match message {
            ToHub::Join(join) => self.join(*join),
            ToHub::Renew(client, admitted) => self.relay.renew(client, &admitted, now, out),
            ToHub::Frames(client, bytes) => self.frames(client, bytes),
            ToHub::Datagrams(client, frames) => {
                frames.iter().for_each(|frame| self.datagram(client, frame));
            }
            ToHub::Written(client, bytes) => self.relay.written(client, bytes, now.at, out),
            ToHub::Refuse(client, why) => self.relay.refuse(client, why, now.at, out),
            ToHub::Left(client) => {
                self.lines.remove(&client);
                self.relay.leave(client, now.at, out);
            }
            ToHub::Mesh(message) => self.mesh(message),
            ToHub::Revoke(frame) => self.relay.revoke(&frame, now.at, out),
            ToHub::Serve(members) => self.relay.serve_only(*members, now.at, out),
            ToHub::Report(reply) => {
                // Who asked may have gone.
                let _ = reply.send(self.report());
            }
            ToHub::Interfaces(interfaces) => self.follow(&interfaces),
            ToHub::Switch(offer) => self.take_over(*offer),
            ToHub::Drain(within) => {
                self.relay.drain(within, now.at, out);
                if !self.draining && self.lines.is_empty() {
                    self.leaves = Some(now.at);
                }
                self.draining = true;
            }
        }
    }

    fn join(&mut self, join: Join) {
        let Join { admitted, way, line, reply } = join;
        let result = self.relay.join(&admitted, way, self.now, &mut self.out);
        if let Ok(client) = result {
            self.lines.insert(client, line);
        }
        // A connection that is gone by now tells it by its closed line.
        if reply.send(result).is_err()
            && let Ok(client) = result
        {
            self.lines.remove(&client);
            self.relay.leave(client, self.now.at, &mut self.out);
        }
    }

    /// Takes whole frames, each with its length.
    fn frames(&mut self, client: ClientId, bytes: Bytes) {
        let mut rest = &bytes[..];
        while let Ok(Some((frame, taken))) = split_frame(rest, Framing::Admitted) {
            match ClientFrame::parse(frame) {
                Ok(frame) => self.relay.frame(client, &frame, &bytes, self.now, &mut self.out),
                Err(_) => {
                    self.relay.refuse(client, Refusal::Malformed, self.now.at, &mut self.out);
                    return;
                }
            }
            rest = &rest[taken..];
        }
    }

    fn datagram(&mut self, client: ClientId, bytes: &Bytes) {
        // In a datagram only packets have their place: the others must not be lost.
        match ClientFrame::parse(bytes) {
            Ok(frame @ ClientFrame::Send(..)) => {
                self.relay.frame(client, &frame, bytes, self.now, &mut self.out);
            }
            _ => self.relay.refuse(client, Refusal::Malformed, self.now.at, &mut self.out),
        }
    }

    /// Does what the core wants done.
    fn apply(&mut self) {
        let mut commands = std::mem::take(&mut self.out.commands);
        for command in commands.drain(..) {
            match command {
                Command::Deliver(client, delivery) => {
                    if let Some(line) = self.lines.get(&client) {
                        line.send(ToConnection::Deliver(Box::new(delivery)));
                    }
                }
                Command::Close(client) => {
                    if let Some(line) = self.lines.remove(&client) {
                        line.send(ToConnection::Close);
                    }
                }
                Command::Link(link, delivery) => {
                    if let Some(line) = self.links.get(&link) {
                        // A link that has ended says so by itself.
                        let _ = line.send(ToLine::Deliver(Box::new(delivery)));
                    }
                }
                Command::CloseLink(link) => {
                    if let Some(line) = self.links.remove(&link) {
                        let _ = line.send(ToLine::Close);
                    }
                }
                Command::Switch(change) => {
                    self.switch.change(change);
                    self.in_kernel(|kernel| kernel.change(change));
                }
                Command::End => self.ended = true,
            }
        }
        let mut datagrams = std::mem::take(&mut self.out.datagrams);
        for Made { to, via, segment, bytes } in datagrams.drain(..) {
            self.depart(&Departure { to, via, ecn: None, segment, bytes: &bytes });
        }
        // Their room is for the next.
        (self.out.commands, self.out.datagrams) = (commands, datagrams);
        if self.draining && self.lines.is_empty() {
            let leaves = *self.leaves.get_or_insert(self.now.at + LAST_PACKETS);
            self.ended |= leaves <= self.now.at;
        }
    }
}

fn clock() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), wall: UnixSeconds(wall.as_secs()) }
}
