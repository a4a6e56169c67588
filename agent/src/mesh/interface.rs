//! Makes the interface what a netmap wants: peers, keys, policy, addresses, routes.

use std::sync::Arc;

use anyhow::Context as _;
use dataplane_common::Generation;
use engine::KeyChange;
use policy::Filter;
use proto::control::Netmap;
use proto::uapi::Set;
use tokio::sync::{mpsc, oneshot};

use super::legend;
use super::outside::Outside;
use super::state::Settings;
use super::steps::{Changes, Steps};
use super::wanted::Wanted;
use crate::io::network::{self, Local, Network};
use crate::io::tun::{self, DEFAULT_MTU};
use crate::wg::{Legend, PolicyChange, Proposal, SharedNode};

const GOING: &str = "the interface is going away";

/// The interface, and what it was made so far.
pub(super) struct MeshInterface {
    name: String,
    node: SharedNode,
    pub(super) network: Network,
    policies: mpsc::Sender<PolicyChange>,
    pub(super) applied: Wanted,
    /// The text of the filter in force.
    filter: String,
    /// What was told of it.
    legend: Arc<Legend>,
    pub(super) generation: Generation,
    /// What the host's other interfaces lead to.
    pub(super) local: Local,
    /// The interface's own MTU, if it was set.
    mtu: Option<u16>,
    outside: Outside,
    /// What could not be done the last time.
    pub(super) warnings: Vec<String>,
}

/// The filter of a netmap, which is the control plane's word.
pub(super) fn filter(netmap: &Netmap) -> anyhow::Result<Filter> {
    serde_json::from_str(netmap.filter.get()).context("the filter of the netmap is none")
}

/// The MTU of a tunnel by interfaces of this one: less WireGuard over IPv6. What a way carries less is
/// found out for each, and what an interface carries less than Ethernet goes in fragments until then.
fn tunnel_mtu(underlay: u16) -> u16 {
    const LONGEST: u16 = 9000;
    underlay.min(LONGEST).saturating_sub(80).max(DEFAULT_MTU)
}

impl MeshInterface {
    pub(super) fn new(
        name: &str,
        node: SharedNode,
        policies: mpsc::Sender<PolicyChange>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            node,
            network: Network::of(name)?,
            outside: Outside::new(name),
            policies,
            applied: Wanted::default(),
            filter: String::new(),
            legend: Arc::default(),
            generation: Generation::default(),
            local: Local::default(),
            mtu: None,
            warnings: Vec::new(),
        })
    }

    /// Brings it up with the node's key and port.
    pub(super) async fn start(&mut self, set: Set) -> anyhow::Result<()> {
        let mut node = self.node.lock().await;
        node.set(set).await??;
        self.network.set_up().await?;
        node.set_up(true).await;
        drop(node);
        // What a daemon that was killed has left, and nobody may want any more.
        (self.applied.addresses, self.applied.routes) =
            self.network.left().await.context("cannot read what the interface has")?;
        self.look_around().await;
        Ok(())
    }

    /// Reads what the host's other interfaces lead to, and lets packets be as long as fits there.
    pub(super) async fn look_around(&mut self) {
        match self.network.local().await {
            Ok(local) => self.local = local,
            Err(error) => {
                tracing::warn!("the host's addresses cannot be read: {error:#}");
                return;
            }
        }
        let mtu = self.local.mtu.map_or(DEFAULT_MTU, tunnel_mtu);
        if self.mtu != Some(mtu) {
            match tun::set_mtu(&self.name, mtu) {
                Ok(()) => self.mtu = Some(mtu),
                Err(error) => self.warn(error),
            }
        }
    }

    /// Makes the interface what this netmap wants. What fails is said and does not keep the rest from
    /// being done, but nobody becomes a peer before the filter is in force.
    pub(super) async fn apply(&mut self, netmap: &Netmap, settings: &Settings) {
        self.warnings.clear();
        let wanted = Wanted::of(netmap, settings, &self.local.networks);
        let steps = Steps::between(&self.applied, &wanted);
        let [gone, peers] = steps.sets();
        // Who is out is out at once, whatever else fails.
        self.set(gone).await;
        if let Err(error) = self.enforce(netmap).await {
            self.warn(error.context("the policy stays as it was, and nobody new becomes a peer"));
            for key in &steps.gone {
                self.applied.peers.retain(|_, peer| peer.key != *key);
            }
            return;
        }
        let (renames, expected): (Vec<_>, Vec<_>) =
            steps.keys.into_iter().partition(|key| matches!(key, KeyChange::Rename { .. }));
        self.change_keys(renames).await;
        self.set(peers).await;
        self.change_keys(expected).await;
        let Changes { add, remove } = &steps.addresses;
        for &address in remove {
            let removed = self.network.remove_address(address).await;
            self.note(removed);
        }
        for &address in add {
            let added = self.network.add_address(address).await;
            self.note(added);
        }
        let Changes { add, remove } = &steps.routes;
        for &route in remove {
            let removed = self.network.remove_route(route).await;
            self.note(removed);
        }
        for &route in add {
            let added = self.network.add_route(route).await;
            self.note(added);
        }
        let outside = self.outside.apply(&wanted.exit, settings, &self.network).await;
        self.warnings.extend(outside);
        self.applied = wanted;
    }

    /// Has the host forget how much peers' ways carry, which it would remember for ten minutes.
    pub(super) async fn forget_lengths(&self) {
        network::forget_lengths();
        // Over IPv6 it remembers that with the route: with another in its place that is gone, and
        // connections look again.
        for &route in self.applied.routes.iter().filter(|route| route.addr().is_ipv6()) {
            if let Err(error) = self.network.add_route(route).await {
                tracing::debug!("ways that carry more will be used later: {error:#}");
            }
        }
    }

    /// Leaves the host's routes as they were.
    pub(super) async fn stop(&mut self) {
        self.outside.stop(&self.network).await;
    }

    /// The control plane may be elsewhere by now.
    pub(super) async fn refresh(&mut self, settings: &Settings) {
        let trouble = self.outside.refresh(settings, &self.network).await;
        self.warnings.extend(trouble);
    }

    /// Lets go of all peers, and lets nothing pass.
    pub(super) async fn cut(&mut self) {
        self.set(Set { replace_peers: true, ..Set::default() }).await;
        self.applied.peers.clear();
        self.filter.clear();
        if let Err(error) = self.put_in_force(Filter::default(), Arc::default()).await {
            self.warn(error);
        }
    }

    async fn enforce(&mut self, netmap: &Netmap) -> anyhow::Result<()> {
        let told = legend::is_of(&self.legend, netmap);
        if told && self.filter == netmap.filter.get() {
            return Ok(());
        }
        let legend = Arc::new(legend::of(netmap));
        if self.filter == netmap.filter.get() {
            self.legend = Arc::clone(&legend);
            let told = self.policies.send(PolicyChange::Tell(legend)).await;
            return told.ok().context(GOING);
        }
        self.put_in_force(filter(netmap)?, legend).await?;
        self.filter = netmap.filter.get().to_owned();
        Ok(())
    }

    async fn put_in_force(&mut self, filter: Filter, legend: Arc<Legend>) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal::Filter(Box::new(filter), Arc::clone(&legend));
        let change = PolicyChange::Enforce(proposal, reply);
        self.policies.send(change).await.ok().context(GOING)?;
        self.generation = answer.await.context(GOING)??;
        self.legend = legend;
        Ok(())
    }

    async fn set(&mut self, set: Set) {
        if set == Set::default() {
            return;
        }
        let done = self.node.lock().await.set(set).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.warn(error.into()),
            Err(error) => self.warn(error),
        }
    }

    pub(super) async fn change_keys(&mut self, changes: Vec<KeyChange>) {
        if !changes.is_empty() {
            let changed = self.node.lock().await.change_keys(changes).await;
            self.note(changed);
        }
    }

    fn note(&mut self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.warn(error);
        }
    }

    fn warn(&mut self, error: anyhow::Error) {
        tracing::warn!("{error:#}");
        self.warnings.push(format!("{error:#}"));
    }
}
