//! The networks in memory, each kept at the database's last revision, and the streams of their
//! nodes.
//!
//! A network is loaded when its first node comes. After each change, by whichever instance, the
//! rows that changed are read and applied, and the streams of the nodes that it concerns are woken.
//! A stream that is slow is told later and of more at once: nothing queues.

mod listener;
mod news;
mod room;
mod sweep;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use proto::control::{NodeId, Revoked};
use proto::ticket::NetworkId;

pub use listener::Listener;
pub use news::listen;
pub use sweep::{Sweep, sweep};

use crate::clock::now;
use crate::core::node::Node;
use crate::core::seal::SealKey;
use crate::core::session::SessionKeys;
use crate::core::ticket_keys::TicketKeys;
use crate::store::{Store, StoreError, random};
use room::Room;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    store: Store,
    instance: String,
    seal: Arc<SealKey>,
    tickets: RwLock<Arc<TicketKeys>>,
    sessions: RwLock<Arc<SessionKeys>>,
    rooms: Mutex<HashMap<NetworkId, Arc<Room>>>,
    /// One network is loaded once.
    loading: tokio::sync::Mutex<()>,
    draining: tokio::sync::watch::Sender<bool>,
    secrets: tokio::sync::watch::Sender<()>,
    revocations: tokio::sync::watch::Sender<Arc<BTreeSet<Revoked>>>,
}

impl Hub {
    /// A hub without networks.
    pub fn new(
        store: Store,
        seal: Arc<SealKey>,
        tickets: TicketKeys,
        sessions: SessionKeys,
    ) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Inner {
            store,
            instance: hex::encode(random::<8>()?),
            seal,
            tickets: RwLock::new(Arc::new(tickets)),
            sessions: RwLock::new(Arc::new(sessions)),
            rooms: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            draining: tokio::sync::watch::Sender::new(false),
            secrets: tokio::sync::watch::Sender::new(()),
            revocations: tokio::sync::watch::Sender::default(),
        })))
    }

    /// What this instance is called among others.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// Streams at this moment.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.rooms().iter().map(|room| room.streams()).sum()
    }

    /// Networks in memory.
    #[must_use]
    pub fn networks(&self) -> usize {
        self.rooms().len()
    }

    /// All streams end: their nodes come again, to another instance if there is one.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Changes when any instance has kept a secret.
    #[must_use]
    pub fn secrets(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.secrets.subscribe()
    }

    /// Whom relays are not to serve, and what becomes of it.
    pub async fn revocations(
        &self,
    ) -> Result<tokio::sync::watch::Receiver<Arc<BTreeSet<Revoked>>>, StoreError> {
        let receiver = self.0.revocations.subscribe();
        self.refresh_revocations().await?;
        Ok(receiver)
    }

    /// Looks whom relays are not to serve.
    pub async fn refresh_revocations(&self) -> Result<(), StoreError> {
        let revoked = self.0.store.revocations().await?;
        self.0.revocations.send_if_modified(|known| {
            let changed = **known != revoked;
            if changed {
                *known = Arc::new(revoked);
            }
            changed
        });
        Ok(())
    }

    /// Tells when the streams are to end.
    #[must_use]
    pub fn draining(&self) -> tokio::sync::watch::Receiver<bool> {
        self.0.draining.subscribe()
    }

    /// A node that is in its network, and whose node key has not ended.
    pub async fn node(&self, network: NetworkId, id: NodeId) -> Result<Option<Node>, StoreError> {
        let live = |room: &Room| room.node(id).filter(|node| !node.is_expired(now()));
        let room = self.room(network).await?;
        if let Some(node) = live(&room) {
            return Ok(Some(node));
        }
        // It may have come, or come back, a moment ago.
        room.refresh(&self.0.store).await?;
        Ok(live(&room))
    }

    /// Nodes that are heard here, and that the database has as offline.
    fn taken_for_gone(&self) -> Vec<(NetworkId, NodeId)> {
        let mut gone = Vec::new();
        for room in self.rooms() {
            gone.extend(room.taken_for_gone().into_iter().map(|id| (room.network(), id)));
        }
        gone
    }

    /// The nodes of a network, as its policy sees them.
    pub async fn policy_nodes(&self, network: NetworkId) -> Result<policy::Nodes, StoreError> {
        let room = self.room(network).await?;
        room.refresh(&self.0.store).await?;
        Ok(room.policy_nodes())
    }

    /// Begins to tell a node, which knows what there was at `after`.
    pub async fn listen(
        &self,
        network: NetworkId,
        id: NodeId,
        after: Option<u64>,
    ) -> Result<Listener, StoreError> {
        let room = self.room(network).await?;
        Listener::begin(self.clone(), room, id, after).await
    }

    /// Brings a network up to date, if it is in memory.
    pub async fn refresh(&self, network: NetworkId) -> Result<(), StoreError> {
        let Some(room) = self.loaded(network) else { return Ok(()) };
        if !room.refresh(&self.0.store).await? {
            // It is deleted, or too far behind: who needs it loads it anew.
            self.lock().remove(&network);
            room.close();
        }
        Ok(())
    }

    /// Looks which keys sign tickets.
    pub async fn refresh_ticket_keys(&self) -> Result<(), StoreError> {
        let keys = self.0.store.ticket_keys(&self.0.seal).await?;
        let keys = keys.ok_or(StoreError::Missing("control key"))?;
        *self.0.tickets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// Looks which keys sessions have.
    pub async fn refresh_session_keys(&self) -> Result<(), StoreError> {
        let keys = self.0.store.session_keys(&self.0.seal).await?;
        let keys = keys.ok_or(StoreError::Missing("session key"))?;
        *self.0.sessions.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// The keys of sessions.
    pub(crate) fn session_keys(&self) -> Arc<SessionKeys> {
        self.0.sessions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ticket_keys(&self) -> Arc<TicketKeys> {
        self.0.tickets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings all networks up to date.
    pub async fn refresh_all(&self) {
        for room in self.rooms() {
            if let Err(error) = self.refresh(room.network()).await {
                tracing::warn!(%error, network = %room.network(), "not up to date");
            }
        }
    }

    async fn room(&self, network: NetworkId) -> Result<Arc<Room>, StoreError> {
        if let Some(room) = self.loaded(network) {
            return Ok(room);
        }
        let _loading = self.0.loading.lock().await;
        if let Some(room) = self.loaded(network) {
            return Ok(room);
        }
        let room = Arc::new(Room::load(&self.0.store, network).await?);
        self.lock().insert(network, room.clone());
        // What came while it was loaded was told to nobody.
        room.refresh(&self.0.store).await?;
        Ok(room)
    }

    fn loaded(&self, network: NetworkId) -> Option<Arc<Room>> {
        self.lock().get(&network).cloned()
    }

    fn rooms(&self) -> Vec<Arc<Room>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NetworkId, Arc<Room>>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
