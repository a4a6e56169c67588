//! A mesh with links that take their time.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat, Programs, Spread};
use netns_tests::{Host, Lab, Pace, SteadyDatagrams};

/// How long a node's link takes, one way.
pub(super) const DELAY: Duration = Duration::from_millis(20);
/// How long anything may take that is not measured.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(3);
const RHYTHM: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Scene {
    pub(super) nodes: Vec<MeshNode>,
    /// Before nodes, from each node's own on.
    pub(super) routers: Vec<Vec<Host>>,
    pub(super) hub: Hub,
    pub(super) lab: Lab,
}

impl Scene {
    /// A hub with two relays. Nodes reach each other without them, or do not.
    pub(super) fn new(programs: &Programs, forwards: bool, spread: Spread) -> Result<Self> {
        let lab = Lab::new("bench-paths")?;
        let options = HubOptions { forwards, relay: false };
        let mut hub = Hub::start_with(&lab, options, programs.clone())?;
        hub.spread_relays(2, spread)?;
        hub.set_delay(DELAY);
        Ok(Self { nodes: Vec::new(), routers: Vec::new(), hub, lab })
    }

    /// A hub, and nodes behind these NATs that know each other.
    pub(super) fn with(programs: &Programs, nats: &[Nat]) -> Result<Self> {
        let mut scene = Self::new(programs, true, Spread::Regions)?;
        nats.iter().try_for_each(|nat| scene.add(*nat))?;
        scene.bring_up()?;
        Ok(scene)
    }

    /// One more node.
    pub(super) fn add(&mut self, nat: Nat) -> Result<()> {
        let name = name(self.nodes.len());
        let (node, routers) = self.hub.node_behind(&self.lab, &name, nat)?;
        self.nodes.push(node);
        self.routers.push(routers);
        Ok(())
    }

    /// Brings all nodes into the mesh, until each knows all others and what its own NAT is.
    pub(super) fn bring_up(&self) -> Result<()> {
        let key = self.hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        for node in &self.nodes {
            node.up(&self.hub, &key, &[])?;
        }
        for node in &self.nodes {
            let knows = within(PATIENCE, || {
                node.status().is_ok_and(|status| {
                    let peers = status["peers"].as_array().map_or(0, Vec::len);
                    peers == self.nodes.len() - 1 && !status["relay"].is_null()
                })
            });
            knows.with_context(|| format!("{} does not come up", node.name))?;
        }
        // STUN's first three rounds: a NAT is known after two answers.
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    }

    pub(super) fn address(&self, of: usize) -> Result<IpAddr> {
        Ok(self.nodes[of].address()?.parse()?)
    }

    /// How packets of one for another leave.
    pub(super) fn path(&self, from: usize, to: usize) -> String {
        let peer = self.nodes[from].peer(&name(to)).unwrap_or_default();
        peer["path"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until both use this way; gives how long that took.
    pub(super) fn both(&self, a: usize, b: usize, path: &str, most: Duration) -> Option<Duration> {
        within(most, || self.path(a, b) == path && self.path(b, a) == path)
    }

    /// Packets from one to another, and back; both flow when this returns.
    pub(super) fn load(&self, a: usize, b: usize, pace: Pace) -> Result<[SteadyDatagrams; 2]> {
        let start = |from: usize, to: usize| -> Result<SteadyDatagrams> {
            let at = SocketAddr::from((self.address(to)?, 0));
            SteadyDatagrams::start(&self.nodes[from].host, &self.nodes[to].host, at, pace)
        };
        let load = [start(a, b)?, start(b, a)?];
        let flows = within(PATIENCE, || load.iter().all(|one| one.arrived() > 100));
        ensure!(flows.is_some(), "nothing flows between {} and {}", name(a), name(b));
        Ok(load)
    }

    /// Sends echoes until both ways are this one.
    pub(super) fn settle(&self, a: usize, b: usize, path: &str) -> Result<()> {
        let at = self.nodes[b].address()?;
        let pinger = netns_tests::Pinger::start(&self.nodes[a].host, &at, RHYTHM)?;
        let settled = self.both(a, b, path, PATIENCE);
        pinger.finish()?;
        settled.with_context(|| format!("{} and {} do not become {path}", name(a), name(b)))?;
        Ok(())
    }
}

pub(super) fn name(number: usize) -> String {
    format!("n{number}")
}

/// Waits until something is so; gives how long that took, if it came to be.
pub(super) fn within(most: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    loop {
        if holds() {
            return Some(start.elapsed());
        }
        if start.elapsed() >= most {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
