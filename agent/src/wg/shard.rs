//! A thread that carries packets: it owns a queue of the interface, a socket of the port and the
//! engine of its peers, and shares nothing with other shards.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use dataplane_common::DropReason;
use engine::{Engine, Output, PADDING, Packets, Timestamp};
use proto::{probe, stun};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::command::{Command, Inbox, Lines, Remains};
use super::node::Side;
use crate::io::clock;
use crate::io::tun::{READ_LIMIT, Tun};
use crate::io::udp::{RECEIVE_BATCH, Received, Udp};

/// Turns of a round: the interface and the network take them one after the other, so that neither
/// waits long for the other, and what is done is handed on while it is in the cache.
const TURNS: usize = 4;
/// Packets read from the interface in a turn, unless they come to [`TURN_BYTES`] before.
const TURN_PACKETS: usize = 64;
/// Sealed bytes that end a turn of the interface: one super-packet, or two.
const TURN_BYTES: usize = 64 << 10;
/// Super-datagrams opened in a turn of the network.
const TURN_DATAGRAMS: usize = RECEIVE_BATCH / TURNS;
/// Sealed bytes that wait for a socket whose buffer is full; what comes on top is dropped.
const WAITING_BYTES: usize = 1 << 20;

/// One shard.
pub(super) struct Shard {
    engine: Engine,
    tun: Tun,
    udp: Option<Udp>,
    up: bool,
    inbox: Inbox,
    lines: Lines,
    /// How long to look for more work before going to sleep.
    busy_poll: Duration,
    /// Until when that is.
    busy_until: Timestamp,
    /// The socket's buffer is full: nothing is read from the interface until it has room, so that
    /// the host's own queue fills, where the host sees it.
    blocked: bool,
    received: Received,
    packet: Box<[u8]>,
    out: Output,
    /// Who takes datagrams that are not for the engine.
    side: Option<Side>,
}

/// Why a shard ended.
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// The interface is gone.
    Gone,
}

/// What reading the interface came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// There may be more.
    HasMore,
    /// There is nothing more.
    Drained,
    /// The interface is gone.
    Gone,
}

/// What a round found ready.
struct Ready {
    bell: bool,
    tun: bool,
    udp: bool,
}

impl Shard {
    pub(super) fn new(
        remains: Remains,
        up: bool,
        inbox: Inbox,
        lines: Lines,
        busy_poll: Duration,
        side: Option<Side>,
    ) -> Self {
        let Remains { engine, tun, udp } = remains;
        let packets = Packets::new(tun.offload());
        Self {
            engine,
            tun,
            udp,
            up,
            inbox,
            lines,
            busy_poll,
            busy_until: Timestamp::default(),
            blocked: false,
            received: Received::new(),
            packet: vec![0; READ_LIMIT + PADDING].into(),
            out: Output { packets, ..Output::default() },
            side,
        }
    }

    /// Runs until told to stop, or until the interface is gone, which is an end as good.
    pub(super) fn run(mut self) -> io::Result<End> {
        loop {
            let ready = self.wait()?;
            // All of the round goes by this: read once, after the wait.
            let now = clock::now();
            if ready.tun || ready.udp {
                self.busy_until = now + self.busy_poll;
            }
            if self.blocked {
                self.send(now);
            }
            if !self.carry(&ready, now)? {
                return Ok(End::Gone);
            }
            if self.up {
                self.engine.handle_timeout(now, &mut self.out);
            }
            self.flush(now);
            if ready.bell
                && let Some(stop) = self.obey(now)
            {
                // Nobody may want it any more.
                let _ = stop.send(Remains { engine: self.engine, tun: self.tun, udp: self.udp });
                return Ok(End::Stopped);
            }
        }
    }

    /// Carries packets both ways, turn by turn; false if the interface is gone.
    fn carry(&mut self, ready: &Ready, now: Timestamp) -> io::Result<bool> {
        if ready.udp {
            self.receive();
        }
        let mut host = if ready.tun { Host::HasMore } else { Host::Drained };
        for turn in 0..TURNS {
            if host == Host::HasMore && !self.blocked {
                host = self.read_packets(now)?;
                self.flush(now);
            }
            if ready.udp {
                let turn = turn * TURN_DATAGRAMS..(turn + 1) * TURN_DATAGRAMS;
                for (from, ecn, datagram) in self.received.datagrams(turn) {
                    if let Some(side) = &self.side
                        && (stun::is_answer(datagram) || probe::is_probe(datagram))
                    {
                        // One that nobody has time for is asked for again.
                        let _ = side.try_send((from.address, datagram.into()));
                        continue;
                    }
                    self.engine.handle_datagram(from, ecn, datagram, now, &mut self.out);
                }
                self.flush(now);
            }
        }
        // Not read, it may be full of what the network does not take.
        self.engine.note_host_queue(host == Host::Drained && !self.blocked, now);
        self.engine.note_network_queue(!(ready.udp && self.received.is_full()), now);
        Ok(host != Host::Gone)
    }

    fn wait(&self) -> io::Result<Ready> {
        let due = self.engine.poll_timeout().filter(|_| self.up).map(|(at, _)| at);
        loop {
            let now = clock::now();
            let busy = now < self.busy_until;
            let left = if busy { Some(Duration::ZERO) } else { due.map(|at| at - now) };
            let ready = self.poll(left)?;
            if !busy || ready.bell || ready.tun || ready.udp || due.is_some_and(|at| at <= now) {
                return Ok(ready);
            }
            // Whoever is to make the next packet may be waiting for this very core.
            rustix::thread::sched_yield();
        }
    }

    fn poll(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let readable = PollFlags::IN;
        let (tun, bell) = (self.tun.as_fd(), &*self.inbox.bell);
        // The first packets of an interface that comes up wait until we know that it did.
        let open = self.up && !self.blocked;
        let mut fds = [
            PollFd::new(bell, readable),
            PollFd::new(&tun, if open { readable } else { PollFlags::empty() }),
            // Without a port the bell is watched twice, which does no harm.
            self.udp.as_ref().map_or_else(
                || PollFd::new(bell, readable),
                |udp| {
                    let room = if self.blocked { PollFlags::OUT } else { PollFlags::empty() };
                    PollFd::from_borrowed_fd(udp.as_fd(), readable | room)
                },
            ),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [bell, tun, udp] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { bell, tun, udp: udp && self.udp.is_some() })
    }

    /// Reads some of what the host sends.
    fn read_packets(&mut self, now: Timestamp) -> io::Result<Host> {
        for _ in 0..TURN_PACKETS {
            match self.tun.read(&mut self.packet[..READ_LIMIT]) {
                Ok(Some(read)) => {
                    let (start, len) = (read.packet.start, read.packet.len());
                    let (engine, buffer) = (&mut self.engine, &mut self.packet[start..]);
                    match read.vnet {
                        Some(vnet) => {
                            engine.handle_offloaded(&vnet, buffer, len, now, &mut self.out);
                        }
                        None => engine.handle_packet(buffer, len, now, &mut self.out),
                    }
                    if self.out.transmits.len() >= TURN_BYTES {
                        break;
                    }
                }
                Ok(None) => return Ok(Host::Drained),
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Ok(Host::Gone),
                Err(error) => return Err(error),
            }
        }
        Ok(Host::HasMore)
    }

    fn receive(&mut self) {
        if let Some(udp) = &self.udp
            && let Err(error) = udp.receive(&mut self.received)
        {
            tracing::debug!(%error, "receive failed");
        }
    }

    /// Does what the engine wants done.
    fn flush(&mut self, now: Timestamp) {
        for packet in self.out.packets.iter() {
            if self.tun.write(packet).is_err() {
                self.engine.drops_mut().count(DropReason::HostRefused);
            }
        }
        self.out.packets.clear();
        self.send(now);
        for handover in self.out.handovers.drain(..) {
            let line = self.lines.get(handover.to.0 as usize);
            let taken = line.is_some_and(|line| line.hand_over(handover));
            if !taken {
                self.engine.drops_mut().count(DropReason::HandoverFull);
            }
        }
    }

    /// Sends what is sealed, as far as the socket takes it.
    fn send(&mut self, now: Timestamp) {
        let mut sent = 0;
        self.blocked = false;
        for batch in self.out.transmits.iter() {
            // Down, nothing leaves and nothing is lost: coming up starts everything anew.
            let Some(udp) = &mut self.udp else { break };
            match udp.send(&batch, now) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, to = %batch.to.address, "send failed");
                    let datagrams = batch.datagrams().count() as u64;
                    self.engine.drops_mut().add(DropReason::SendFailed, datagrams);
                }
                Ok(()) => {}
            }
            sent += 1;
        }
        if self.blocked {
            self.out.transmits.forget(sent);
            let dropped = self.out.transmits.truncate(WAITING_BYTES);
            self.engine.drops_mut().add(DropReason::SendFailed, dropped);
        } else {
            self.out.transmits.clear();
        }
    }

    /// Takes what other shards and the main thread have sent; gives whom to tell if it is to stop.
    fn obey(&mut self, now: Timestamp) -> Option<tokio::sync::oneshot::Sender<Remains>> {
        let mut count = [0; 8];
        // Nothing to read means that an earlier round has seen it all.
        let _ = rustix::io::read(&*self.inbox.bell, &mut count);
        while let Ok(handover) = self.inbox.handovers.try_recv() {
            self.engine.handle_handover(handover, now, &mut self.out);
            self.flush(now);
        }
        loop {
            // A reply that nobody waits for any more is no error.
            match self.inbox.commands.try_recv() {
                Ok(Command::Check(set, reply)) => drop(reply.send(self.engine.check(&set))),
                Ok(Command::Configure(set, udp, reply)) => {
                    if let Some(udp) = udp {
                        self.udp = Some(udp);
                    }
                    if let Err(error) = self.engine.configure(&set, now, &mut self.out) {
                        tracing::error!(%error, "a change that was checked is refused");
                    }
                    let _ = reply.send(());
                }
                Ok(Command::Keys(changes, done)) => {
                    changes.iter().for_each(|change| self.engine.change_key(change, now));
                    let _ = done.send(());
                }
                Ok(Command::Paths(changes)) => {
                    for (peer, change) in changes.iter() {
                        self.engine.change_path(peer, change, now, &mut self.out);
                    }
                }
                Ok(Command::Send(to, bytes, length)) => {
                    if let Some(udp) = &mut self.udp {
                        // Whoever asked for it asks again.
                        let _ = udp.send_one(to, &bytes, length);
                    }
                }
                Ok(Command::Up(up, udp, done)) => {
                    self.up = up;
                    self.udp = udp;
                    self.engine.set_up(up, now, &mut self.out);
                    let _ = done.send(());
                }
                Ok(Command::Mtu(mtu)) => self.engine.set_mtu(mtu),
                Ok(Command::Report(reply)) => {
                    let key = self.engine.private_key().cloned();
                    drop(reply.send((key, self.engine.peers())));
                }
                Ok(Command::Traffic(since, reply)) => {
                    drop(reply.send(self.engine.traffic(since)));
                }
                Ok(Command::Networks(reply)) => {
                    drop(reply.send(self.engine.networks().collect()));
                }
                Ok(Command::Counters(reply)) => {
                    let counters = (self.engine.drops().clone(), self.engine.handed_over());
                    drop(reply.send(counters));
                }
                Ok(Command::Stop(reply)) => {
                    self.flush(now);
                    return Some(reply);
                }
                // Whoever could tell us to stop is gone.
                Err(TryRecvError::Disconnected) => return Some(tokio::sync::oneshot::channel().0),
                Err(TryRecvError::Empty) => break,
            }
        }
        self.flush(now);
        None
    }
}
