//! What every request needs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use proto::control::NodeId;

use crate::clock::{self, now};
use crate::core::bearer::BearerId;
use crate::core::lockout::{Lockout, Source};
use crate::core::rate::{Rate, Rates};
use crate::core::seal::SealKey;
use crate::core::session::SessionKeys;
use crate::hub::Hub;
use crate::problem::Problem;
use crate::server::metrics::Metrics;
use crate::store::{Secrets, Store};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Store,
    hub: Hub,
    seal: Arc<SealKey>,
    lockout: Mutex<Lockout>,
    tokens: Mutex<Rates<BearerId>>,
    nodes: Mutex<Rates<NodeId>>,
    strangers: Mutex<Rates<Source>>,
    metrics: Metrics,
}

/// What a program may ask by one API token.
const TOKEN: Rate = Rate { burst: 1_000, every_second: 100 };
/// What a node may ask: it reports what is new, and that is seldom.
const NODE: Rate = Rate { burst: 100, every_second: 5 };

/// What may be asked from one source by who has shown no right. Whoever turns out to be ours has it
/// back, so that a thousand nodes behind one address come in.
const STRANGER: Rate = Rate { burst: 1_000, every_second: 20 };

impl App {
    /// All of it, over an open database.
    pub async fn new(store: Store, seal: SealKey) -> Result<Self, crate::store::StoreError> {
        clock::follow(&store).await?;
        let Secrets { session, control } = store.secrets(&seal, now()).await?;
        let seal = Arc::new(seal);
        let hub = Hub::new(store.clone(), seal.clone(), control, session)?;
        let (lockout, metrics) = (Mutex::default(), Metrics::default());
        let (tokens, nodes) = (Mutex::new(Rates::new(TOKEN)), Mutex::new(Rates::new(NODE)));
        let strangers = Mutex::new(Rates::new(STRANGER));
        Ok(Self(Arc::new(Inner { store, hub, seal, lockout, tokens, nodes, strangers, metrics })))
    }

    /// What is kept.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What nodes are told.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn session(&self) -> Arc<SessionKeys> {
        self.0.hub.session_keys()
    }

    pub(crate) fn seal(&self) -> &SealKey {
        &self.0.seal
    }

    /// Refuses a source that has failed too often.
    pub(crate) fn admit(&self, source: IpAddr) -> Result<(), Problem> {
        match self.lockout(|lockout| lockout.wait(Source::from(source), now())) {
            Some(seconds) => Err(Problem::too_many(seconds)),
            None => Ok(()),
        }
    }

    /// Refuses a source that asks too much without having shown a right.
    pub(crate) fn admit_stranger(&self, source: IpAddr) -> Result<(), Problem> {
        take(&self.0.strangers, source.into())
    }

    /// Who asked so often is one of ours.
    pub(crate) fn is_ours(&self, source: IpAddr, requests: u32) {
        let mut strangers = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.give_back(&source.into(), requests, now());
    }

    /// A source has shown a secret that is none.
    pub(crate) fn failed(&self, source: IpAddr) {
        self.metrics().refused.inc();
        self.lockout(|lockout| lockout.failed(Source::from(source), now()));
    }

    /// Refuses a token by which too much is asked.
    pub(crate) fn admit_token(&self, id: BearerId) -> Result<(), Problem> {
        take(&self.0.tokens, id)
    }

    /// Refuses a node that asks too much.
    pub(crate) fn admit_node(&self, id: NodeId) -> Result<(), Problem> {
        take(&self.0.nodes, id)
    }

    /// Sources that have to wait.
    pub(crate) fn locked(&self) -> usize {
        self.lockout(|lockout| lockout.locked(now()))
    }

    fn lockout<T>(&self, look: impl FnOnce(&mut Lockout) -> T) -> T {
        look(&mut self.0.lockout.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn take<K: std::hash::Hash + Eq>(rates: &Mutex<Rates<K>>, key: K) -> Result<(), Problem> {
    let taken = rates.lock().unwrap_or_else(PoisonError::into_inner).take(key, now());
    if taken { Ok(()) } else { Err(Problem::too_fast()) }
}
