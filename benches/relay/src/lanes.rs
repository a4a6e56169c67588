//! Lanes of nearwire's relay: opened by connections, then bound by UDP.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use proto::key::PublicKey;
use proto::lane::LANE_HEADER_LEN;
use proto::relay::LaneOpened;
use relay_client::{LaneEnd, LaneEvent};

use crate::nearwire::{Node, Nodes};
use crate::udp::socket;

/// Answers that may be missed before an end gives up.
const ATTEMPTS: u32 = 40;

/// Lanes between all of some nodes.
pub(crate) struct Opened {
    nodes: Vec<Node>,
    /// What each node was told of its lanes.
    told: Vec<Vec<LaneOpened>>,
}

impl Opened {
    /// Opens so many lanes, or a few more.
    pub(crate) async fn new(relay: SocketAddr, count: usize) -> Result<Self> {
        let mut opened = Self::connect(relay, count).await?;
        opened.open().await?;
        Ok(opened)
    }

    /// Connects the nodes between which there are to be so many lanes.
    pub(crate) async fn connect(relay: SocketAddr, count: usize) -> Result<Self> {
        let all = Nodes::by_tls(relay)?;
        let mut nodes = Vec::new();
        while nodes.len() * nodes.len().saturating_sub(1) / 2 < count {
            nodes.push(all.connect(nodes.len()).await?);
        }
        Ok(Self { nodes, told: Vec::new() })
    }

    /// Opens a lane between each two.
    pub(crate) async fn open(&mut self) -> Result<()> {
        let keys: Vec<PublicKey> = self.nodes.iter().map(|node| node.key).collect();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            for peer in &keys[at + 1..] {
                node.open_lane(*peer).await?;
            }
        }
        for node in &mut self.nodes {
            let mut lanes = Vec::new();
            while lanes.len() + 1 < keys.len() {
                lanes.push(node.lane_opened().await?);
            }
            self.told.push(lanes);
        }
        Ok(())
    }

    /// How many lanes there are.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len() * self.nodes.len().saturating_sub(1) / 2
    }

    /// Both ends of each lane.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = [&LaneOpened; 2]> {
        let keys = || self.nodes.iter().map(|node| node.key).zip(&self.told);
        keys().enumerate().flat_map(move |(at, (key, told))| {
            keys().skip(at + 1).filter_map(move |(peer, others)| {
                let one = told.iter().find(|lane| lane.peer == peer)?;
                Some([one, others.iter().find(|lane| lane.peer == key)?])
            })
        })
    }

    /// Binds all ends of each node at one socket; gives how many.
    pub(crate) fn bind_all(&self) -> Result<usize> {
        let mut bound = 0;
        for lanes in &self.told {
            let Some(first) = lanes.first() else { continue };
            let socket = socket(relay(first)?)?;
            for lane in lanes {
                bind(lane, &socket)?;
                bound += 1;
            }
        }
        Ok(bound)
    }
}

/// Where an end is to be bound.
pub(crate) fn relay(opened: &LaneOpened) -> Result<SocketAddr> {
    let address = opened.addresses.iter().find(|address| address.is_ipv4());
    address.copied().context("the relay has no lanes on IPv4")
}

/// Binds an end at a socket; gives what stands before each packet.
pub(crate) fn bind(opened: &LaneOpened, socket: &UdpSocket) -> Result<[u8; LANE_HEADER_LEN]> {
    let mut end = LaneEnd::new(opened, 1, Instant::now());
    let mut bytes = [0; 2048];
    for _ in 0..ATTEMPTS {
        while let Some(message) = end.poll_transmit(Instant::now()) {
            socket.send(&message)?;
        }
        match socket.recv(&mut bytes) {
            Ok(len) => {
                let event = end.receive(&bytes[..len], Instant::now());
                if let Some(LaneEvent::Bound(_)) = event {
                    return Ok(end.header());
                }
                ensure!(event != Some(LaneEvent::Lost), "the relay does not know its own lane");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("binding a lane"),
        }
    }
    anyhow::bail!("a lane cannot be bound: {} does not answer", socket.peer_addr()?)
}
