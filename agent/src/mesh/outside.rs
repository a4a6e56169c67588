//! The world outside the mesh: the host's packets to it by an exit node, or others' by this node.

use std::net::IpAddr;
use std::time::Duration;

use super::session::client;
use super::state::Settings;
use super::wanted::Exit;
use crate::io::divert::{checks_reverse_paths, does_not_forward};
use crate::io::masquerade;
use crate::io::network::Network;

/// How long it may take to find where the control plane is.
const FIND: Duration = Duration::from_secs(3);

/// What was made of the host for it.
pub(super) struct Outside {
    interface: String,
    /// None before the first netmap: what a daemon before has left may be there.
    applied: Option<Exit>,
    /// Where the control plane is, which is reached without the mesh.
    exempt: Vec<IpAddr>,
}

impl Outside {
    pub(super) fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), applied: None, exempt: Vec::new() }
    }

    /// Makes it so; gives what is wrong.
    pub(super) async fn apply(
        &mut self,
        exit: &Exit,
        settings: &Settings,
        network: &Network,
    ) -> Vec<String> {
        let mut trouble = match self.applied.as_ref() == Some(exit) {
            true => Ok(()),
            false => self.change(exit, settings, network).await,
        }
        .err()
        .map(|error| format!("{error:#}"))
        .into_iter()
        .collect::<Vec<_>>();
        match exit {
            Exit::No => {}
            Exit::Through { missing } => {
                trouble.extend(missing.clone());
                if checks_reverse_paths(&self.interface) {
                    let mend = "sysctl -w net.ipv4.conf.all.rp_filter=2";
                    trouble.push(format!(
                        "this host drops answers to the tunnel's own packets (rp_filter): {mend}"
                    ));
                }
            }
            Exit::Serves { .. } => trouble.extend(does_not_forward().into_iter().map(|name| {
                let name = name.replace('/', ".");
                format!("this exit node does not forward: sysctl -w net.{name}=1")
            })),
        }
        trouble
    }

    /// Finds the control plane anew, while that matters.
    pub(super) async fn refresh(&mut self, settings: &Settings, network: &Network) -> Vec<String> {
        if !matches!(self.applied, Some(Exit::Through { .. })) {
            return Vec::new();
        }
        let before = std::mem::take(&mut self.exempt);
        self.exempt = place(settings).await.unwrap_or_else(|| before.clone());
        if self.exempt == before {
            return Vec::new();
        }
        let diverted = network.divert(&self.exempt).await;
        diverted.err().map(|error| format!("{error:#}")).into_iter().collect()
    }

    /// Leaves the host as it was.
    pub(super) async fn stop(&mut self, network: &Network) {
        let applied = self.applied.take();
        if let Some(Exit::Through { .. }) = applied
            && let Err(error) = network.undivert().await
        {
            tracing::warn!("the host's routes are not as they were: {error:#}");
        }
        if let Some(Exit::Serves { .. }) = applied {
            masquerade::stop(&self.interface).await;
        }
    }

    async fn change(
        &mut self,
        exit: &Exit,
        settings: &Settings,
        network: &Network,
    ) -> anyhow::Result<()> {
        let goes_through = |exit: Option<&Exit>| matches!(exit, Some(Exit::Through { .. }));
        let first = self.applied.is_none();
        if goes_through(Some(exit)) && !goes_through(self.applied.as_ref()) {
            // Found before the way there is another.
            self.exempt = place(settings).await.unwrap_or_default();
            network.divert(&self.exempt).await?;
        } else if !goes_through(Some(exit)) && (first || goes_through(self.applied.as_ref())) {
            network.undivert().await?;
        }
        if let Exit::Serves { from, plain } = exit {
            masquerade::masquerade(&self.interface, from, plain).await?;
        } else if first || matches!(self.applied, Some(Exit::Serves { .. })) {
            masquerade::stop(&self.interface).await;
        }
        self.applied = Some(exit.clone());
        Ok(())
    }
}

/// Where the control plane is.
async fn place(settings: &Settings) -> Option<Vec<IpAddr>> {
    let (host, port) = client(settings).ok()?.server()?;
    let found = tokio::time::timeout(FIND, tokio::net::lookup_host((host, port))).await.ok()?;
    let mut found: Vec<_> = found.ok()?.map(|at| at.ip()).collect();
    found.sort_unstable();
    found.dedup();
    Some(found)
}
