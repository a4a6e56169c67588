//! A node: `Homing` with connections around it, on a task of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netns_tests::{Host, TcpDialler, udp_socket};
use proto::key::PublicKey;
use relay_client::{Action, ConnectionId, Event, Homing, LaneEvent, Path};
use tokio::sync::{mpsc, watch};

use super::connect::{Dialler, Incoming, Line, run};
use super::lanes::{Datagram, Lanes};
use super::relays::{PATIENCE, Place, node_key};

/// Packets to send: to whom, and their bytes.
pub(crate) type Sender = mpsc::UnboundedSender<(PublicKey, Vec<u8>)>;

/// How a node connects to relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Quic,
    Tls,
}

impl Way {
    fn dialler(self, host: &Host) -> Result<Dialler> {
        if self == Self::Tls {
            return Ok(Dialler::Tls(TcpDialler::new(host)));
        }
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            None,
            udp_socket(host, "0.0.0.0:0".parse()?)?,
            Arc::new(quinn::TokioRuntime),
        )?;
        Ok(Dialler::Quic(endpoint))
    }
}

/// A node that runs as long as this is held.
pub(crate) struct Node {
    number: u8,
    pub(crate) sender: Sender,
    pub(crate) received: mpsc::UnboundedReceiver<(PublicKey, Vec<u8>)>,
    home: watch::Receiver<Option<usize>>,
    absent: mpsc::UnboundedReceiver<PublicKey>,
    lanes: watch::Receiver<usize>,
    ask: mpsc::UnboundedSender<PublicKey>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shell {
    who: (u8, u8),
    dialler: Dialler,
    places: Vec<Place>,
    homing: Homing,
    lines: HashMap<ConnectionId, Line>,
    lanes: Lanes,
    lanes_bound: watch::Sender<usize>,
    /// Which relay a connection is to.
    relays: HashMap<ConnectionId, usize>,
    incoming: mpsc::UnboundedSender<Incoming>,
    received: mpsc::UnboundedSender<(PublicKey, Vec<u8>)>,
    absent: mpsc::UnboundedSender<PublicKey>,
    home: watch::Sender<Option<usize>>,
}

impl Node {
    /// Starts a node of a network on a host; it prefers the relays in their order. Must be called within
    /// a runtime.
    pub(crate) fn start(
        host: &Host,
        way: Way,
        (network, number): (u8, u8),
        places: Vec<Place>,
    ) -> Result<Self> {
        let (sender, outgoing) = mpsc::unbounded_channel();
        let (to_us, received) = mpsc::unbounded_channel();
        let (to_absent, absent) = mpsc::unbounded_channel();
        let (incoming, events) = mpsc::unbounded_channel();
        let (home, at) = watch::channel(None);
        let (lanes_bound, lanes) = watch::channel(0);
        let (ask, asked) = mpsc::unbounded_channel();
        let socket = udp_socket(host, "0.0.0.0:0".parse()?)?;
        let random = u32::from(number).wrapping_mul(0x9e37_79b9);
        let shell = Shell {
            who: (network, number),
            dialler: way.dialler(host)?,
            homing: Homing::new(places.len(), random, Instant::now()),
            places,
            lines: HashMap::new(),
            lanes: Lanes::new(socket)?,
            lanes_bound,
            relays: HashMap::new(),
            incoming,
            received: to_us,
            absent: to_absent,
            home,
        };
        let task = tokio::spawn(shell.run(events, outgoing, asked));
        Ok(Self { number, sender, received, home: at, absent, lanes, ask, task })
    }

    /// Starts a node and has it at home at the first of the relays. On a busy machine that may answer so
    /// late that a node takes the next: then it starts anew.
    pub(crate) async fn at_first(
        host: &Host,
        way: Way,
        (network, number): (u8, u8),
        places: &[Place],
    ) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut node = Self::start(host, way, (network, number), places.to_vec())?;
            let home = tokio::time::timeout(PATIENCE, node.home.wait_for(Option::is_some)).await;
            if home.is_ok_and(|home| home.is_ok_and(|home| *home == Some(0))) {
                return Ok(node);
            }
        }
        anyhow::bail!("node {number} does not come home to the first of its relays")
    }

    pub(crate) fn key(&self) -> PublicKey {
        node_key(self.number)
    }

    /// Waits until the node is at home at this relay of its list.
    pub(crate) async fn at_home(&mut self, relay: usize) -> Result<()> {
        let wait = self.home.wait_for(|home| *home == Some(relay));
        tokio::time::timeout(PATIENCE, wait).await.with_context(|| {
            format!("node {} did not come home to relay {relay} of its list", self.number)
        })??;
        Ok(())
    }

    /// Has a lane to a peer opened, and waits until this end is bound.
    pub(crate) async fn opens_lane(&mut self, peer: u8) -> Result<()> {
        self.ask.send(node_key(peer))?;
        self.has_lane().await
    }

    /// Waits until an end of a lane is bound here.
    pub(crate) async fn has_lane(&mut self) -> Result<()> {
        let wait = self.lanes.wait_for(|lanes| *lanes > 0);
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("node {} has no lane", self.number))??;
        Ok(())
    }

    /// Sends until one packet arrives at another node: who has just come is known a moment later.
    pub(crate) async fn reaches(&self, other: &mut Self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let text = format!("from {} to {}", self.number, other.number).into_bytes();
        while Instant::now() < deadline {
            let _ = self.sender.send((other.key(), text.clone()));
            let next = tokio::time::timeout(Duration::from_millis(50), other.received.recv());
            if let Ok(Some((from, packet))) = next.await
                && (from, &packet) == (self.key(), &text)
            {
                return Ok(());
            }
        }
        anyhow::bail!("node {} does not reach node {}", self.number, other.number)
    }

    /// Sends until the relay says that the other is not there.
    pub(crate) async fn misses(&mut self, other: u8) -> Result<()> {
        while self.absent.try_recv().is_ok() {}
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let _ = self.sender.send((node_key(other), b"who is there".to_vec()));
            let next = tokio::time::timeout(Duration::from_millis(50), self.absent.recv());
            if let Ok(Some(absent)) = next.await
                && absent == node_key(other)
            {
                return Ok(());
            }
        }
        anyhow::bail!("node {} is not told that node {other} is gone", self.number)
    }
}

impl Shell {
    async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Incoming>,
        mut outgoing: mpsc::UnboundedReceiver<(PublicKey, Vec<u8>)>,
        mut asked: mpsc::UnboundedReceiver<PublicKey>,
    ) {
        self.homing.handle_timeout(Instant::now());
        loop {
            self.act();
            self.lanes.transmit();
            let due = self.homing.poll_timeout().into_iter().chain(self.lanes.poll_timeout()).min();
            let due = due.unwrap_or(Instant::now() + PATIENCE);
            tokio::select! {
                biased;
                Some(incoming) = events.recv() => self.take(incoming),
                datagram = self.lanes.receive() => self.lane_datagram(&datagram),
                Some(peer) = asked.recv() => {
                    let home = self.homing.home();
                    home.into_iter().for_each(|id| self.say(id, |line| line.session.open_lane(peer)));
                }
                Some((to, packet)) = outgoing.recv() => self.send(to, &packet),
                () = tokio::time::sleep_until(due.into()) => {}
            }
            self.homing.handle_timeout(Instant::now());
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.homing.poll_action() {
            match action {
                Action::Connect(id, relay) => {
                    self.relays.insert(id, relay.0);
                    let (dialler, place) = (self.dialler.clone(), self.places[relay.0].clone());
                    tokio::spawn(run(dialler, place, id, self.who, self.incoming.clone()));
                }
                Action::Home(id) => {
                    self.say(id, |line| line.session.home(true));
                    self.home.send_replace(self.relays.get(&id).copied());
                }
                Action::Ping(id, number) => self.say(id, |line| line.session.ping(number)),
                Action::OpenLane(id, peer) => self.say(id, |line| line.session.open_lane(peer)),
                Action::Close(id) => {
                    self.lines.remove(&id);
                    self.lanes.forget(id);
                }
            }
        }
    }

    fn say(&mut self, id: ConnectionId, what: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&id) {
            what(line);
            line.flush();
        }
    }

    fn send(&mut self, to: PublicKey, packet: &[u8]) {
        let id = match self.homing.path(&to) {
            None => return,
            Some(Path::Lane(id, lane)) => {
                self.lanes.send(id, lane, packet);
                id
            }
            Some(Path::Connection(id)) => {
                if let Some(line) = self.lines.get_mut(&id) {
                    line.send(to, packet);
                }
                id
            }
        };
        self.homing.sent(id, Instant::now());
    }

    fn lane_datagram(&mut self, datagram: &Datagram) {
        let now = Instant::now();
        let Some((id, lane, peer, event)) = self.lanes.take(datagram, now) else { return };
        match event {
            LaneEvent::Packet(packet) => {
                self.homing.heard(id, now);
                let _ = self.received.send((peer, packet.to_vec()));
            }
            LaneEvent::Bound(_) => {
                self.homing.lane_bound(id, lane, true);
                self.lanes_bound.send_modify(|bound| *bound += 1);
            }
            LaneEvent::Lost => self.homing.lane_closed(id, lane),
        }
    }

    fn take(&mut self, incoming: Incoming) {
        let now = Instant::now();
        match incoming {
            Incoming::Connected(id, line) => {
                self.lines.insert(id, *line);
            }
            Incoming::Ended(id) => {
                self.lines.remove(&id);
                self.homing.ended(id, now);
            }
            Incoming::Datagram(id, bytes) => {
                let Some(line) = self.lines.get_mut(&id) else { return };
                if let Ok((from, batch)) = line.session.receive_datagram(&bytes) {
                    self.homing.heard(id, now);
                    let _ = self.received.send((from, batch.bytes().to_vec()));
                }
            }
            Incoming::Frame(id, frame) => self.frame(id, &frame, now),
        }
    }

    fn frame(&mut self, id: ConnectionId, frame: &[u8], now: Instant) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Ok(event) = line.session.receive(frame) else {
            self.lines.remove(&id);
            return self.homing.ended(id, now);
        };
        match event {
            Some(Event::Admitted(_)) => self.homing.admitted(id, now),
            Some(Event::Pong(number)) => self.homing.pong(id, number, now),
            Some(Event::Drain(within)) => self.homing.draining(id, within, now),
            Some(Event::PeerGone(peer)) => {
                let _ = self.absent.send(peer);
            }
            Some(Event::Received(from, batch)) => {
                self.homing.heard(id, now);
                let _ = self.received.send((from, batch.bytes().to_vec()));
            }
            Some(Event::LaneOpened(opened)) => {
                self.homing.lane_opened(id, opened.peer, opened.lane);
                self.lanes.open(id, &opened, now);
            }
            Some(Event::LaneClosed(lane)) => {
                self.homing.lane_closed(id, lane);
                self.lanes.close(id, lane);
            }
            Some(Event::LaneRefused(..)) | None => {}
        }
        self.say(id, |_| {});
    }
}
