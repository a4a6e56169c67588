//! The node: all its shards, the port they share, and the programs that steer packets to them.
//!
//! Configuration goes to every shard, and each keeps what it needs of it. What can fail is done
//! first, here, and changes nothing if it does.

use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dataplane::Steering;
use dataplane_common::{IndexMask, Shards};
use engine::{
    Drops, Engine, KeyChange, Output, PathChange, PeerStatus, Place, Settings, Timestamp, Traffic,
};
use proto::key::PublicKey;
use proto::uapi::{Device, Peer, Set};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::sync::mpsc;

use super::command::{Command, Lines, Remains, SetError, line};
use super::port::{Port, grow_group};
use super::shard::{End, Shard};
use crate::io::clock::{self, WallClock};
use crate::io::priority;
use crate::io::tun::{DEFAULT_MTU, Queues, Tun};
use crate::io::udp::{Length, Udp};

/// Peers that are configured before packets get their turn.
const SLICE: usize = 64;

/// The node as tasks of the main thread share it.
pub(crate) type SharedNode = Arc<tokio::sync::Mutex<Node>>;

/// Takes what arrives at the port and is not for the engine, with where it came from.
pub(crate) type Side = mpsc::Sender<(SocketAddr, Box<[u8]>)>;

/// How shards ended that were not told to.
pub(super) type Ends = mpsc::UnboundedReceiver<io::Result<()>>;

/// A running node.
pub(crate) struct Node {
    interface: String,
    queues: Queues,
    busy_poll: Duration,
    shards: Shards,
    lines: Lines,
    /// None for a single shard, and where the kernel has no such programs.
    steering: Option<Steering>,
    port: Port,
    mask: IndexMask,
    up: bool,
    wall: WallClock,
    ended: mpsc::UnboundedSender<io::Result<()>>,
    side: Option<Side>,
}

/// What shards are made of, by their numbers.
#[derive(Default)]
struct Parts {
    engines: Vec<Engine>,
    tuns: Vec<Tun>,
    udps: Vec<Udp>,
}

impl Node {
    /// Starts the shards of the interface, whose first queue is `tun`; it is down.
    pub(super) fn start(
        interface: &str,
        (tun, queues): (Tun, Queues),
        shards: Shards,
        busy_poll: Duration,
        side: Option<Side>,
    ) -> anyhow::Result<(Self, Ends)> {
        let (ended, ends) = mpsc::unbounded_channel();
        // The low half of it is as random.
        let mask = IndexMask::new((random() & 0xffff_ffff) as u32);
        let settings = Settings { mtu: DEFAULT_MTU, seed: random(), place: Place::alone(mask) };
        let mut engine = Engine::new(settings);
        engine.set_up(false, clock::now(), &mut Output::default());
        let mut node = Self {
            interface: interface.to_owned(),
            queues,
            busy_poll,
            shards: Shards::ONE,
            lines: Arc::new([]),
            steering: None,
            port: Port::default(),
            mask,
            up: false,
            wall: WallClock::default(),
            ended,
            side,
        };
        node.launch(Parts { engines: vec![engine], tuns: vec![tun], udps: Vec::new() }, shards)?;
        Ok((node, ends))
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> Shards {
        self.shards
    }

    /// Changes the configuration.
    pub(crate) async fn set(&mut self, set: Set) -> anyhow::Result<Result<(), SetError>> {
        let change = match self.port.prepare(&set, self.up, self.shards) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        let set = Arc::new(set);
        // All shards have the same peers: if one refuses, the first does.
        if let Some(first) = self.lines.first()
            && let Err(error) = first.ask(|reply| Command::Check(Arc::clone(&set), reply)).await?
        {
            return Ok(Err(error.into()));
        }
        let touches_networks = set.replace_peers || !set.peers.is_empty();
        let mut sockets = self.port.change(change, self.steering.as_mut()).into_iter();
        for slice in slices(Arc::unwrap_or_clone(set)) {
            let slice = Arc::new(slice);
            let done = self.lines.iter().map(|line| {
                let (set, socket) = (Arc::clone(&slice), sockets.next());
                line.request(|reply| Command::Configure(set, socket, reply))
            });
            for done in done.collect::<Vec<_>>() {
                done.await.context("the interface is going away")?;
            }
        }
        if touches_networks {
            self.steer_networks().await?;
        }
        Ok(Ok(()))
    }

    /// Changes keys, of the node or of peers; no session ends by it.
    pub(crate) async fn change_keys(&self, changes: Vec<KeyChange>) -> anyhow::Result<()> {
        let changes: Arc<[_]> = changes.into();
        let done: Vec<_> = self
            .lines
            .iter()
            .map(|line| line.request(|done| Command::Keys(Arc::clone(&changes), done)))
            .collect();
        for done in done {
            done.await.context("the interface is going away")?;
        }
        Ok(())
    }

    /// Changes the ways to peers.
    pub(crate) fn change_paths(&self, changes: Vec<(PublicKey, PathChange)>) {
        let changes: Arc<[_]> = changes.into();
        for line in self.lines.iter() {
            line.send(Command::Paths(Arc::clone(&changes)));
        }
    }

    /// Sends a datagram from the port.
    pub(crate) fn send_from_port(&self, to: SocketAddr, bytes: &[u8], length: Length) {
        if let Some(first) = self.lines.first() {
            first.send(Command::Send(to, bytes.into(), length));
        }
    }

    /// The port, once it is open.
    pub(crate) const fn port(&self) -> u16 {
        self.port.number
    }

    /// The state of all peers, as the engine has it.
    pub(crate) async fn peers(&self) -> anyhow::Result<Vec<PeerStatus>> {
        let mut peers = Vec::new();
        for line in self.lines.iter() {
            peers.extend(line.ask(Command::Report).await?.1);
        }
        Ok(peers)
    }

    /// What peers with traffic since then have had so far.
    pub(crate) async fn traffic(&self, since: Timestamp) -> anyhow::Result<Vec<Traffic>> {
        let asked: Vec<_> = self
            .lines
            .iter()
            .map(|line| line.request(|reply| Command::Traffic(since, reply)))
            .collect();
        let mut traffic = Vec::new();
        for answer in asked {
            traffic.extend(answer.await.context("the interface is going away")?);
        }
        Ok(traffic)
    }

    /// The configuration and the state of all peers.
    pub(super) async fn report(&mut self) -> anyhow::Result<Device> {
        let mut private_key = None;
        let mut peers = Vec::new();
        for line in self.lines.iter() {
            let (key, own) = line.ask(Command::Report).await?;
            private_key = key;
            peers.extend(own);
        }
        peers.sort_unstable_by_key(|peer| peer.slot);
        let peers = peers.into_iter().map(|peer| Peer {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint.map(|endpoint| endpoint.address),
            last_handshake: peer.last_handshake.map(|moment| self.wall.at(moment)),
            tx_bytes: peer.tx_bytes,
            rx_bytes: peer.rx_bytes,
            persistent_keepalive: peer.persistent_keepalive,
            allowed_ips: peer.allowed_ips,
        });
        let (listen_port, fwmark) = (self.port.number, self.port.mark);
        Ok(Device { peers: peers.collect(), private_key, listen_port, fwmark })
    }

    /// What was dropped, and how much was handed from shard to shard.
    pub(crate) async fn counters(&self) -> anyhow::Result<(Drops, u64)> {
        let mut all = (Drops::default(), 0);
        for line in self.lines.iter() {
            let (drops, handed_over) = line.ask(Command::Counters).await?;
            for (reason, packets) in drops.iter() {
                all.0.add(reason, packets);
            }
            all.1 += handed_over;
        }
        Ok(all)
    }

    /// The interface went up or down. Returns when the shards have closed their sockets: until then
    /// the port is in use, and the next one could not have it.
    pub(crate) async fn set_up(&mut self, up: bool) {
        if up == self.up {
            return;
        }
        self.up = up;
        self.port.close();
        let sockets =
            if up { self.port.open(self.shards, self.steering.as_mut()) } else { Vec::new() };
        let mut sockets = sockets.into_iter();
        let done: Vec<_> = self
            .lines
            .iter()
            .map(|line| line.request(|done| Command::Up(up, sockets.next(), done)))
            .collect();
        for done in done {
            // A shard that has ended has closed its socket too.
            let _ = done.await;
        }
    }

    /// The interface's MTU is this now.
    pub(super) fn set_mtu(&self, mtu: u16) {
        for line in self.lines.iter() {
            line.send(Command::Mtu(mtu));
        }
    }

    /// Goes on with another number of shards; peers move with their sessions.
    pub(super) async fn reshard(&mut self, shards: Shards) -> anyhow::Result<()> {
        if self.queues == Queues::One && shards != Shards::ONE {
            bail!(
                "{} was started with one shard, and such an interface has one queue for good: \
                 start it with --shards 2 or more",
                self.interface
            );
        }
        if shards == self.shards {
            return Ok(());
        }
        let parts = self.stop().await?;
        self.launch(parts, shards)?;
        self.steer_networks().await
    }

    /// Ends all shards.
    pub(super) async fn end(&self) {
        // Those that have ended by themselves said so before.
        let _ = self.stop().await;
    }

    async fn stop(&self) -> anyhow::Result<Parts> {
        let mut parts = Parts::default();
        for line in self.lines.iter() {
            let Remains { engine, tun, udp } = line.ask(Command::Stop).await?;
            parts.engines.push(engine);
            parts.tuns.push(tun);
            parts.udps.extend(udp);
        }
        Ok(parts)
    }

    /// Starts so many shards, or as many as before if more queues or sockets cannot be had.
    fn launch(&mut self, mut parts: Parts, mut shards: Shards) -> anyhow::Result<()> {
        let grown = self.grow(&mut parts, shards);
        if grown.is_err() {
            shards = self.shards;
        }
        let count = shards.count() as usize;
        parts.tuns.truncate(count);
        parts.udps.truncate(count);
        self.shards = shards;
        self.steer(&parts);
        let engines = Engine::reshard(parts.engines, shards, clock::now());
        let (lines, inboxes): (Vec<_>, Vec<_>) =
            (0..count).map(|_| line()).collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
        self.lines = lines.into();
        let mut udps = parts.udps.into_iter();
        let parts = engines.into_iter().zip(parts.tuns).zip(inboxes);
        for (number, ((engine, tun), inbox)) in parts.enumerate() {
            let remains = Remains { engine, tun, udp: udps.next() };
            let lines = Arc::clone(&self.lines);
            let shard =
                Shard::new(remains, self.up, inbox, lines, self.busy_poll, self.side.clone());
            spawn(number, shard, self.ended.clone())?;
        }
        grown
    }

    fn grow(&self, parts: &mut Parts, shards: Shards) -> anyhow::Result<()> {
        while parts.tuns.len() < shards.count() as usize {
            let queue = parts.tuns[0].open_queue(&self.interface)?;
            parts.tuns.push(queue);
        }
        grow_group(&mut parts.udps, self.port.mark, shards)
            .context("cannot open one more socket of the port")
    }

    /// Steers packets to the shards. Without it they still arrive: other shards hand them over.
    fn steer(&mut self, parts: &Parts) {
        if self.queues == Queues::One {
            return;
        }
        let steered = match &mut self.steering {
            Some(steering) => steering.set_shards(self.shards).map_err(Into::into),
            None => Steering::load(self.shards, self.mask).map_err(anyhow::Error::from).and_then(
                |steering| {
                    parts.tuns[0].steer(steering.tunnel_program()?)?;
                    self.steering = Some(steering);
                    Ok(())
                },
            ),
        };
        if let Err(error) = steered {
            tracing::warn!(
                "packets are not steered to their shards: expect less throughput: {error:#}"
            );
        }
        self.port.adopt(&parts.udps, self.steering.as_mut());
    }

    async fn steer_networks(&mut self) -> anyhow::Result<()> {
        if let (Some(steering), Some(first)) = (&mut self.steering, self.lines.first()) {
            let networks = first.ask(Command::Networks).await?;
            if let Err(error) = steering.set_networks(networks) {
                tracing::warn!(%error, "packets are not steered to their shards");
            }
        }
        Ok(())
    }
}

/// Cuts a change with many peers into changes with fewer, between which packets have their turn: a
/// peer that is added costs its shard a Diffie-Hellman operation.
fn slices(mut set: Set) -> impl Iterator<Item = Set> {
    let mut peers = std::mem::take(&mut set.peers).into_iter();
    let mut rest = Some(set);
    std::iter::from_fn(move || {
        let some: Vec<_> = peers.by_ref().take(SLICE).collect();
        match rest.take() {
            Some(first) => Some(Set { peers: some, ..first }),
            None => (!some.is_empty()).then(|| Set { peers: some, ..Set::default() }),
        }
    })
}

/// Starts a shard's thread, which says how it ended if it was not told to.
fn spawn(
    number: usize,
    shard: Shard,
    ended: mpsc::UnboundedSender<io::Result<()>>,
) -> anyhow::Result<()> {
    let run = move || {
        priority::with_packets();
        let end = panic::catch_unwind(AssertUnwindSafe(|| shard.run()));
        let end = match end {
            Ok(Ok(End::Stopped)) => return,
            Ok(Ok(End::Gone)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("a shard panicked")),
        };
        // The main thread may be gone first: nobody to tell then.
        let _ = ended.send(end);
    };
    thread::Builder::new()
        .name(format!("nearwire-{number}"))
        .spawn(run)
        .context("cannot start a thread")
        .map(drop)
}

fn random() -> u64 {
    OsRng.try_next_u64().unwrap_or_default()
}
