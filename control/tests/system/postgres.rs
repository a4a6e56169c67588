//! A PostgreSQL that the tests share, a database for each.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use throwaway_postgres::{Cluster, Durability};

static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// The cluster that runs, or a new one. It ends with the last test that uses it.
pub(crate) fn shared() -> Arc<Cluster> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = running.upgrade() {
        return cluster;
    }
    let cluster = Arc::new(Cluster::start(Durability::Lost).unwrap());
    *running = Arc::downgrade(&cluster);
    cluster
}
