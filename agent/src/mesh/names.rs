//! The names of the mesh on this host: the resolver's start, what it is told, and its end.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use proto::control::Netmap;
use resolver::{ADDRESS, Interface, Names, Paths, Settings};

use super::store::Store;
use crate::io::network::Network;

/// Names, if the host has them from us.
pub(super) enum MeshNames {
    /// They are answered.
    On(Names),
    /// They are not, for this reason: the node works without.
    Failed(String),
    /// They are not wanted.
    Off,
}

impl MeshNames {
    /// Gives the interface the address where names are answered, and listens there.
    pub(super) async fn start(wanted: bool, name: &str, network: &Network, store: &Store) -> Self {
        if !wanted {
            return Self::Off;
        }
        match listen(name, network, store).await {
            Ok(names) => Self::On(names),
            Err(error) => Self::failed(&error),
        }
    }

    /// Takes over what a netmap says of names.
    pub(super) async fn update(&self, netmap: &Netmap) {
        if let Self::On(names) = self
            && let Err(error) = names.update(netmap).await
        {
            tracing::warn!("names are answered, but the host is not told to ask: {error:#}");
        }
    }

    /// The host's own resolvers may be others.
    pub(super) async fn look_around(&self) {
        if let Self::On(names) = self
            && let Err(error) = names.look().await
        {
            tracing::warn!("the host's resolvers cannot be read: {error:#}");
        }
    }

    /// Where they are answered.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::On(names) => Some(names.status().address),
            Self::Failed(_) | Self::Off => None,
        }
    }

    /// What is wrong with them.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::On(names) => names.status().trouble,
            Self::Failed(reason) => Some(reason.clone()),
            Self::Off => None,
        }
    }

    /// Gives the host its own configuration back.
    pub(super) async fn stop(self) {
        if let Self::On(names) = self
            && let Err(error) = names.stop().await
        {
            tracing::warn!("the host's resolvers are not as they were: {error:#}");
        }
    }

    fn failed(error: &anyhow::Error) -> Self {
        tracing::warn!("names of the mesh are not answered: {error:#}");
        Self::Failed(format!("names of the mesh are not answered: {error:#}"))
    }
}

async fn listen(name: &str, network: &Network, store: &Store) -> anyhow::Result<Names> {
    let IpAddr::V4(address) = ADDRESS.ip() else {
        anyhow::bail!("the resolver's address is of another family");
    };
    network.add_own_address(address).await?;
    Names::start(Settings {
        address: ADDRESS,
        interface: Interface { name: name.to_owned(), index: network.index() },
        paths: Paths::of_host(store.directory()),
        also: Vec::new(),
    })
    .await
    .context("the resolver does not start")
}
