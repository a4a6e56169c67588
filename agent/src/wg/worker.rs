//! The thread that carries packets: it owns the interface, the port and the engine.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use dataplane_common::DropReason;
use engine::{Engine, Output, PADDING, Packets, Settings, Timestamp};
use proto::uapi::{Device, Peer, Set};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::oneshot;

use super::command::{Command, Handle, SetError};
use crate::io::clock::{self, WallClock};
use crate::io::tun::{DEFAULT_MTU, READ_LIMIT, Tun};
use crate::io::udp::{Received, Udp};

/// Packets read from the interface before the network gets its turn.
const READ_BATCH: usize = 64;
/// Sealed bytes that are sent before more is read: a few super-packets.
const FLUSH_BYTES: usize = 256 << 10;

/// Starts the worker. `ended` is told when and why it has ended.
pub(super) fn start(
    tun: Tun,
    ended: oneshot::Sender<io::Result<()>>,
) -> anyhow::Result<(Handle, JoinHandle<()>)> {
    let (commands, inbox) = mpsc::channel();
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    let bell = Arc::new(eventfd(0, flags).context("cannot make an eventfd")?);
    let worker = Worker::new(tun, inbox, Arc::clone(&bell));
    let thread = thread::Builder::new()
        .name("nearwire-shard".into())
        .spawn(move || {
            // The main thread may be gone first: nobody to tell then.
            let _ = ended.send(worker.run());
        })
        .context("cannot start a thread")?;
    Ok((Handle::new(commands, bell), thread))
}

struct Worker {
    engine: Engine,
    tun: Tun,
    udp: Option<Udp>,
    up: bool,
    /// The port that was asked for or, once open, that we got.
    port: u16,
    fwmark: u32,
    inbox: mpsc::Receiver<Command>,
    bell: Arc<OwnedFd>,
    wall: WallClock,
    received: Received,
    packet: Box<[u8]>,
    out: Output,
}

/// What a round found ready.
struct Ready {
    bell: bool,
    tun: bool,
    udp: bool,
}

impl Worker {
    fn new(tun: Tun, inbox: mpsc::Receiver<Command>, bell: Arc<OwnedFd>) -> Self {
        let mut engine = Engine::new(Settings {
            mtu: DEFAULT_MTU,
            seed: OsRng.try_next_u64().unwrap_or_default(),
        });
        let packets = Packets::new(tun.offload());
        let mut out = Output { packets, ..Output::default() };
        engine.set_up(false, clock::now(), &mut out);
        Self {
            engine,
            tun,
            udp: None,
            up: false,
            port: 0,
            fwmark: 0,
            inbox,
            bell,
            wall: WallClock::default(),
            received: Received::new(),
            packet: vec![0; READ_LIMIT + PADDING].into(),
            out,
        }
    }

    /// Runs until told to stop, or until the interface is gone, which is an end as good.
    fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            // The one clock read of the round.
            let now = clock::now();
            if ready.bell && !self.obey(now) {
                return Ok(());
            }
            if ready.tun && !self.read_packets(now)? {
                return Ok(());
            }
            if ready.udp {
                self.read_datagrams(now);
            }
            if self.up {
                self.engine.handle_timeout(now, &mut self.out);
            }
            self.flush();
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let due = self.engine.poll_timeout().filter(|_| self.up);
        let timeout = due.map(|(at, _)| at - clock::now()).map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let readable = PollFlags::IN;
        let tun = self.tun.as_fd();
        let mut fds = [
            PollFd::new(&*self.bell, readable),
            // The first packets of an interface that comes up wait until we know that it did.
            PollFd::new(&tun, if self.up { readable } else { PollFlags::empty() }),
            // Without a port the bell is watched twice, which does no harm.
            self.udp.as_ref().map_or_else(
                || PollFd::new(&*self.bell, readable),
                |udp| PollFd::from_borrowed_fd(udp.as_fd(), readable),
            ),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [bell, tun, udp] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { bell, tun, udp: udp && self.udp.is_some() })
    }

    /// Reads what the host sends; false if the interface is gone.
    fn read_packets(&mut self, now: Timestamp) -> io::Result<bool> {
        for _ in 0..READ_BATCH {
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
                    // What is sealed and not sent leaves the cache, and memory grows.
                    if self.out.transmits.len() >= FLUSH_BYTES {
                        self.flush();
                    }
                }
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read_datagrams(&mut self, now: Timestamp) {
        let Some(udp) = &self.udp else { return };
        match udp.receive(&mut self.received) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::debug!(%error, "receive failed");
                return;
            }
        }
        for (from, datagram) in self.received.datagrams() {
            self.engine.handle_datagram(from, datagram, now, &mut self.out);
        }
    }

    /// Does what the engine wants done.
    fn flush(&mut self) {
        for packet in self.out.packets.iter() {
            if self.tun.write(packet).is_err() {
                self.engine.drops_mut().count(DropReason::HostRefused);
            }
        }
        for batch in self.out.transmits.iter() {
            // Down, nothing leaves and nothing is lost: coming up starts everything anew.
            let Some(udp) = &mut self.udp else { break };
            if let Err(error) = udp.send(&batch) {
                tracing::debug!(%error, to = %batch.to.address, "send failed");
                let datagrams = batch.datagrams().count() as u64;
                self.engine.drops_mut().add(DropReason::SendFailed, datagrams);
            }
        }
        self.out.packets.clear();
        self.out.transmits.clear();
    }

    /// Obeys the commands that have come; false if one was to stop.
    fn obey(&mut self, now: Timestamp) -> bool {
        let mut count = [0; 8];
        // Nothing to read means that an earlier round has seen it all.
        let _ = rustix::io::read(&*self.bell, &mut count);
        loop {
            // A reply that nobody waits for any more is no error.
            match self.inbox.try_recv() {
                Ok(Command::Get(reply)) => drop(reply.send(self.report())),
                Ok(Command::Set(set, reply)) => drop(reply.send(self.set(&set, now))),
                Ok(Command::Drops(reply)) => drop(reply.send(self.engine.drops().clone())),
                Ok(Command::Up(up)) => self.set_up(up, now),
                Ok(Command::Mtu(mtu)) => self.engine.set_mtu(mtu),
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn set_up(&mut self, up: bool, now: Timestamp) {
        if up == self.up {
            return;
        }
        self.up = up;
        self.engine.set_up(up, now, &mut self.out);
        self.udp = None;
        if up {
            match Udp::open(self.port, self.fwmark) {
                Ok(udp) => self.adopt(udp),
                Err(error) => {
                    tracing::error!(port = self.port, %error, "cannot listen; set another port");
                }
            }
        }
    }

    fn adopt(&mut self, udp: Udp) {
        self.port = udp.port();
        self.udp = Some(udp);
    }

    /// Changes the configuration: what can fail comes first, and changes nothing.
    fn set(&mut self, set: &Set, now: Timestamp) -> Result<(), SetError> {
        let mark = set.fwmark.unwrap_or(self.fwmark);
        let port = set.listen_port.unwrap_or(self.port);
        let moves = set.listen_port.is_some() && (port == 0 || port != self.port);
        let udp = (self.up && (moves || (set.listen_port.is_some() && self.udp.is_none())))
            .then(|| Udp::open(port, mark))
            .transpose()
            .map_err(|error| SetError::Port { port, error })?;
        if let (None, Some(open)) = (&udp, &self.udp)
            && mark != self.fwmark
        {
            open.set_fwmark(mark).map_err(|error| SetError::Mark { mark, error })?;
        }
        self.engine.configure(set, now, &mut self.out)?;
        self.fwmark = mark;
        self.port = port;
        if let Some(udp) = udp {
            self.adopt(udp);
        }
        Ok(())
    }

    fn report(&mut self) -> Device {
        let peers = self.engine.peers().into_iter().map(|peer| Peer {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint.map(|endpoint| endpoint.address),
            last_handshake: peer.last_handshake.map(|moment| self.wall.at(moment)),
            tx_bytes: peer.tx_bytes,
            rx_bytes: peer.rx_bytes,
            persistent_keepalive: peer.persistent_keepalive,
            allowed_ips: peer.allowed_ips,
        });
        Device {
            peers: peers.collect(),
            private_key: self.engine.private_key().cloned(),
            listen_port: self.port,
            fwmark: self.fwmark,
        }
    }
}
