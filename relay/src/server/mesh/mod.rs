//! The mesh of a region: a QUIC connection to each other relay of it.
//!
//! Of two relays the one with the smaller id dials. Neither end's certificate or address says who it
//! is; both sign what the TLS session exports with the key that the region's file names. What is to be
//! carried, and whether a link lives, is decided by the [core](crate::core).

mod accept;
mod dial;
mod greet;
mod key;
mod link;
mod region;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use proto::mesh::RelayId;
use proto::ticket::SigningKey;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use key::make_key;

use super::hub::{HubHandle, ToHub};
use crate::core::{LinkId, Region, ToLink};
use region::Members;

/// What a relay needs to be of a region.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Where other relays are taken.
    pub listen: SocketAddr,
    /// The file that names the relays of the region.
    pub region: PathBuf,
    /// The file with the relay's secret key.
    pub key: PathBuf,
}

/// What the hub is told.
pub(super) enum ToMesh {
    /// Which relays there are.
    Region(Region),
    /// A relay has proven itself.
    Up(Box<LinkUp>),
    /// Frames of a stream, whole ones, each with its length.
    Frames(LinkId, Bytes),
    /// Frames of datagrams, without lengths.
    Datagrams(LinkId, Vec<Bytes>),
    /// A link has written so much.
    Written(LinkId, usize),
    /// A link has ended.
    Down(LinkId),
}

/// A relay that has proven itself.
pub(super) struct LinkUp {
    pub(super) relay: RelayId,
    pub(super) line: mpsc::UnboundedSender<ToLine>,
    pub(super) reply: oneshot::Sender<Option<LinkId>>,
}

/// What the hub gives to a link. The core bounds how much of it is not written yet.
pub(super) enum ToLine {
    Deliver(Box<ToLink>),
    Close,
}

/// What every task of the mesh needs.
struct Shared {
    key: SigningKey,
    members: watch::Receiver<Members>,
    endpoint: quinn::Endpoint,
    hub: HubHandle,
}

/// What the files of a region say.
pub(super) struct Known {
    key: SigningKey,
    members: Members,
}

impl Known {
    /// Reads them.
    pub(super) fn read(config: &MeshConfig) -> Result<Self> {
        let key = key::read(&config.key)?;
        let members = Members::read(&config.region, &key.verifying_key())?;
        Ok(Self { key, members })
    }
}

/// Opens the endpoint and keeps a link to every other relay.
pub(super) async fn start(
    config: &MeshConfig,
    known: Known,
    hub: HubHandle,
    tasks: &mut JoinSet<()>,
) -> Result<quinn::Endpoint> {
    let Known { key, members } = known;
    let own = key.verifying_key();
    hub.tell(ToHub::Mesh(ToMesh::Region(members.region())))
        .await
        .context("telling the hub of the region")?;
    let (changed, members) = watch::channel(members);
    let endpoint = tls::endpoint(config.listen)?;
    tasks.spawn(region::follow(config.region.clone(), own, changed, hub.clone()));
    let shared = Arc::new(Shared { key, members, endpoint: endpoint.clone(), hub });
    tasks.spawn(accept::serve(shared.clone()));
    tasks.spawn(dial::serve(shared));
    Ok(endpoint)
}
