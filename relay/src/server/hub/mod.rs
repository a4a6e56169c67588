//! The thread that owns the core and the port of lanes.
//!
//! A round: wait; read the clock, once; what the port has, switched at once; what connections say;
//! what time brings. Nothing here waits for anybody.

mod kernel;
mod lanes;
mod mesh;
mod outbox;
mod stun;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use proto::relay::{ClientFrame, Framing, Refusal, split_frame};
use proto::ticket::UnixSeconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, watch};

use super::hub_handle::{Bell, HubHandle, Join, ToConnection, ToHub};
use super::kernel_switch::KernelSwitch;
use super::line::LineSender;
use super::mesh::ToLine;
use super::stun_sockets::{self, StunSockets};
use super::udp::{Departure, Received, Udp};
use super::xdp::XdpStatus;
use crate::core::{
    ClientId, Command, Counters, LinkId, Made, Now, Output, Relay, Settings, Stun, Switch,
};
use outbox::Outbox;

/// Messages of connections in a round, so that lanes have their turn soon.
const MESSAGES: usize = 256;

struct Hub {
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
    bell: Arc<Bell>,
    lines: HashMap<ClientId, LineSender>,
    links: HashMap<LinkId, mpsc::UnboundedSender<ToLine>>,
    out: Output,
    now: Now,
    ended: bool,
}

/// The sockets that are the hub's.
pub(super) struct Ports {
    pub(super) lanes: Option<Udp>,
    pub(super) stun: StunSockets,
}

/// Those that have something.
struct Ready {
    lanes: bool,
    stun: bool,
}

/// Starts the hub's thread. Must be called within a tokio runtime.
pub(super) fn start(
    settings: Settings,
    ports: Ports,
    kernel: Option<KernelSwitch>,
    xdp: XdpStatus,
) -> Result<HubHandle> {
    let bell = Arc::new(Bell::new().context("eventfd")?);
    let (end, ended) = watch::channel(false);
    let (ringer, until) = (bell.clone(), ended.clone());
    tokio::spawn(async move { ringer.ring(until).await });
    let (handle, inbox) = HubHandle::new(bell.clone(), ended);
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    let now = clock();
    let Ports { lanes: udp, stun: stun_sockets } = ports;
    let lane_port = udp.as_ref().map(Udp::local_address).transpose()?.map_or(0, |at| at.port());
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
        bell,
        lines: HashMap::new(),
        links: HashMap::new(),
        out: Output::default(),
        now,
        ended: false,
    };
    std::thread::Builder::new()
        .name("relay-hub".to_owned())
        .spawn(move || {
            if let Err(error) = hub.run() {
                tracing::error!(%error, "the hub has failed");
            }
            // Whoever waited is gone if nobody hears it.
            let _ = end.send(true);
        })
        .context("starting the hub's thread")?;
    Ok(handle)
}

impl Hub {
    fn run(mut self) -> io::Result<()> {
        let mut received = Received::new();
        while !self.ended {
            let ready = self.wait()?;
            self.now = clock();
            if ready.lanes {
                self.receive(&mut received);
            }
            if ready.stun {
                self.receive_stun(&mut received);
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
        Ok(())
    }

    /// Waits until there is something to do; says which ports have something.
    fn wait(&mut self) -> io::Result<Ready> {
        self.bell.sleeping.store(true, Ordering::SeqCst);
        let due = self.relay.poll_timeout();
        // A message that came before the flag was set rang no bell.
        let left = if self.inbox.is_empty() {
            due.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let bell = &self.bell.file;
        let second = self.stun_sockets.all();
        let mut all: [_; 2 + stun_sockets::MOST] = std::array::from_fn(|place| {
            let port = match place {
                0 => None,
                1 => self.udp.as_ref(),
                _ => second.get(place - 2).map(|(_, udp)| udp),
            };
            // Without a port the bell is watched twice, which does no harm.
            port.map_or_else(
                || PollFd::new(bell, PollFlags::IN),
                |udp| PollFd::from_borrowed_fd(udp.as_fd(), PollFlags::IN),
            )
        });
        let fds = &mut all[..2 + second.len()];
        match poll(fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let (rung, lanes) = (has(&fds[0]), has(&fds[1]) && self.udp.is_some());
        let ready = Ready { lanes, stun: fds[2..].iter().any(has) };
        self.bell.sleeping.store(false, Ordering::SeqCst);
        if rung {
            let mut count = [0; 8];
            // Nothing to read means that an earlier round has seen it.
            let _ = rustix::io::read(&self.bell.file, &mut count);
        }
        Ok(ready)
    }

    /// Takes what connections and operators say.
    fn obey(&mut self) {
        for _ in 0..MESSAGES {
            let Ok(message) = self.inbox.try_recv() else { break };
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
                ToHub::Drain(within) => self.relay.drain(within, now.at, out),
            }
        }
        self.apply();
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
    }
}

fn clock() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), wall: UnixSeconds(wall.as_secs()) }
}
