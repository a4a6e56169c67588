//! One network in memory, and the streams of its nodes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use tokio::sync::Notify;

use crate::core::node::Node;
use crate::core::tenant::{Change, Due, Tenant, Unwritable};
use crate::core::ticket_keys::TicketKeys;
use crate::core::view::{Told, next_line};
use crate::store::{Store, StoreError, Subject};

/// Nodes whose streams broke, and of which is known what they were told.
const MOST_PARKED: usize = 20_000;
/// How long that is known, in seconds.
const PARKED: u64 = 600;

pub(super) struct Room {
    network: NetworkId,
    tenant: RwLock<Tenant>,
    streams: Mutex<HashMap<NodeId, Arc<Seat>>>,
    parked: Mutex<HashMap<NodeId, (Told, UnixSeconds)>>,
    refreshing: tokio::sync::Mutex<()>,
}

/// The room's end of a stream.
#[derive(Default)]
pub(super) struct Seat {
    due: Mutex<Due>,
    told: Mutex<Option<Told>>,
    wake: Notify,
    /// Another stream of the node has taken its place, or the room is gone.
    closed: AtomicBool,
}

impl Seat {
    fn owe(&self, due: Due) {
        lock(&self.due).merge(due);
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Room {
    pub(super) async fn load(store: &Store, network: NetworkId) -> Result<Self, StoreError> {
        // The revision first: what changes meanwhile is read again later, to no harm.
        let kept = store.network(&network.to_string()).await?;
        let nodes = store.all_nodes(network).await?;
        let document = store.document(&kept).await?;
        let regions = store.regions(network).await?;
        let set = (kept.as_network(), kept.key_lifetime);
        let tenant = Tenant::new(set, kept.plan, kept.revision, nodes, document, regions)?;
        Ok(Self {
            network,
            tenant: RwLock::new(tenant),
            streams: Mutex::default(),
            parked: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        })
    }

    pub(super) const fn network(&self) -> NetworkId {
        self.network
    }

    pub(super) fn streams(&self) -> usize {
        lock(&self.streams).len()
    }

    pub(super) fn node(&self, id: NodeId) -> Option<Node> {
        self.tenant.read().unwrap_or_else(PoisonError::into_inner).node(id).cloned()
    }

    /// Nodes with a stream here that do not count as online.
    pub(super) fn taken_for_gone(&self) -> Vec<NodeId> {
        let here: Vec<NodeId> = lock(&self.streams).keys().copied().collect();
        let tenant = self.tenant.read().unwrap_or_else(PoisonError::into_inner);
        let offline = |id: &NodeId| tenant.node(*id).is_some_and(|node| !node.online);
        here.into_iter().filter(offline).collect()
    }

    pub(super) fn policy_nodes(&self) -> policy::Nodes {
        self.tenant.read().unwrap_or_else(PoisonError::into_inner).policy_nodes()
    }

    /// Reads what has changed. Tells whether it could.
    pub(super) async fn refresh(&self, store: &Store) -> Result<bool, StoreError> {
        let _one = self.refreshing.lock().await;
        let have = self.tenant.read().unwrap_or_else(PoisonError::into_inner).revision();
        let Some(revision) = store.revision(self.network).await? else { return Ok(false) };
        if revision <= have {
            return Ok(true);
        }
        let Some(subjects) = store.changes(self.network, have, revision).await? else {
            return Ok(false);
        };
        let mut changes = Vec::with_capacity(subjects.len());
        for subject in subjects {
            changes.push(self.read(store, subject).await?);
        }
        let dues = {
            let mut tenant = self.tenant.write().unwrap_or_else(PoisonError::into_inner);
            tenant.apply(revision, changes)?
        };
        let streams = lock(&self.streams);
        for (id, due) in dues {
            if let Some(seat) = streams.get(&id) {
                seat.owe(due);
            }
        }
        Ok(true)
    }

    async fn read(&self, store: &Store, subject: Subject) -> Result<Change, StoreError> {
        Ok(match subject {
            Subject::Node(id) => match store.node(self.network, id).await {
                Ok(kept) => Change::Node(Box::new(kept.node)),
                Err(StoreError::Missing(_)) => Change::Gone(id),
                Err(error) => return Err(error),
            },
            Subject::Policy => {
                let kept = store.network(&self.network.to_string()).await?;
                Change::Policy(store.document(&kept).await?)
            }
            Subject::Regions => Change::Regions(store.regions(self.network).await?),
            Subject::Network => {
                let kept = store.network(&self.network.to_string()).await?;
                Change::Network(kept.as_network(), kept.key_lifetime)
            }
        })
    }

    /// Takes a place for a stream of the node, which knows what there was at `after`. One that it had
    /// before ends: it broke, and nobody has noticed.
    pub(super) fn enter(&self, id: NodeId, after: Option<u64>) -> Arc<Seat> {
        let seat = Arc::new(Seat::default());
        let before = lock(&self.streams).insert(id, seat.clone());
        let told = match before {
            Some(before) => {
                before.close();
                lock(&before.told).take()
            }
            None => lock(&self.parked).remove(&id).map(|(told, _)| told),
        };
        // It goes on only from exactly what it knows.
        if let Some(told) = told.filter(|told| Some(told.revision()) == after) {
            *lock(&seat.told) = Some(told);
            seat.owe(Due::everything());
        }
        seat
    }

    /// Gives the place back, and keeps in mind what the node was told. Tells whether the node has no
    /// other stream.
    pub(super) fn leave(&self, id: NodeId, seat: &Arc<Seat>, now: UnixSeconds) -> bool {
        let mut streams = lock(&self.streams);
        if !streams.get(&id).is_some_and(|current| Arc::ptr_eq(current, seat)) {
            return false;
        }
        streams.remove(&id);
        if let Some(mut told) = lock(&seat.told).take() {
            told.rest();
            let mut parked = lock(&self.parked);
            if parked.len() >= MOST_PARKED {
                parked.retain(|_, (_, since)| now.0.saturating_sub(since.0) < PARKED);
            }
            if parked.len() < MOST_PARKED {
                parked.insert(id, (told, now));
            }
        }
        true
    }

    pub(super) fn is_here(&self, id: NodeId) -> bool {
        lock(&self.streams).contains_key(&id)
    }

    /// The next line for a stream.
    pub(super) fn line(
        &self,
        id: NodeId,
        seat: &Seat,
        tickets: &TicketKeys,
        now: UnixSeconds,
    ) -> Result<Option<Vec<u8>>, Unwritable> {
        let due = std::mem::take(&mut *lock(&seat.due));
        let tenant = self.tenant.read().unwrap_or_else(PoisonError::into_inner);
        next_line(&tenant, id, &mut lock(&seat.told), &due, tickets, now)
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        for seat in lock(&self.streams).values() {
            seat.close();
        }
    }
}

impl From<Unwritable> for StoreError {
    fn from(error: Unwritable) -> Self {
        Self::Broken { what: "a network", reason: error.to_string() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
