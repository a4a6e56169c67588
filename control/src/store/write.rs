//! One change of a network, whole or not at all.

use std::collections::HashMap;

use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use sqlx::{Any, AssertSqlSafe, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::networks::{COLUMNS, read_network};
use super::{Backend, KeptNetwork, News, Result, Store, StoreError, signed};
use crate::core::key_lifetime::KeyLifetime;

/// What may be another at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A node.
    Node(NodeId),
    /// The policy.
    Policy,
    /// The relays.
    Regions,
    /// What is set for the network.
    Network,
}

/// See the module.
pub struct Write {
    pub(super) tx: Transaction<'static, Any>,
    pub(super) network: KeptNetwork,
    pub(super) now: UnixSeconds,
    pub(super) store: Store,
    /// Whether relays serve the nodes that were read, as it was then.
    pub(super) served: HashMap<NodeId, bool>,
    subjects: Vec<Subject>,
    /// What there is to tell beside the network's own news.
    more: Vec<News>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Subject {
    pub(super) fn columns(self) -> (&'static str, String) {
        match self {
            Self::Node(id) => ("node", id.to_string()),
            Self::Policy => ("policy", String::new()),
            Self::Regions => ("regions", String::new()),
            Self::Network => ("network", String::new()),
        }
    }

    pub(super) fn read(kind: &str, subject: &str) -> Option<Self> {
        match kind {
            "node" => subject.parse().ok().map(Self::Node),
            "policy" => Some(Self::Policy),
            "regions" => Some(Self::Regions),
            "network" => Some(Self::Network),
            _ => None,
        }
    }
}

impl Store {
    /// The turn of a writer, where writers have to wait for each other.
    pub(super) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match self.backend {
            Backend::Sqlite => Some(self.writer.clone().lock_owned().await),
            Backend::Postgres => None,
        }
    }

    /// Commits, and tells all instances.
    pub(super) async fn publish(
        &self,
        mut tx: Transaction<'static, Any>,
        news: &[News],
    ) -> Result<()> {
        if self.backend == Backend::Postgres {
            for news in news {
                // It takes no parameters; what there is to tell has no quotes.
                sqlx::query(AssertSqlSafe(format!("NOTIFY nearwire, '{news}'")))
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        for news in news {
            // Nobody listening is no error.
            let _ = self.news.send(*news);
        }
        Ok(())
    }

    /// Begins to change a network. Without [`Write::commit`] nothing is changed.
    pub async fn write(&self, network: NetworkId, now: UnixSeconds) -> Result<Write> {
        let turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        // A write first: it takes the lock that all that follows needs.
        let row = sqlx::query(AssertSqlSafe(format!(
            "UPDATE networks SET revision = revision + 1 WHERE id = $1 RETURNING {COLUMNS}"
        )))
        .bind(network.to_string())
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::Missing("such network"))?;
        let network = read_network(&row)?;
        Ok(Write {
            tx,
            network,
            now,
            store: self.clone(),
            served: HashMap::new(),
            subjects: Vec::new(),
            more: Vec::new(),
            _turn: turn,
        })
    }
}

impl Write {
    /// The network, with the revision that this change makes.
    #[must_use]
    pub const fn network(&self) -> &KeptNetwork {
        &self.network
    }

    /// When it happens.
    #[must_use]
    pub const fn now(&self) -> UnixSeconds {
        self.now
    }

    /// Others have to look at this.
    pub fn changed(&mut self, subject: Subject) {
        if !self.subjects.contains(&subject) {
            self.subjects.push(subject);
        }
    }

    pub(super) fn tell(&mut self, news: News) {
        if !self.more.contains(&news) {
            self.more.push(news);
        }
    }

    /// Has nodes tell of one of so many flows; of none at 0.
    pub async fn set_flow_logs(&mut self, one_of: u32) -> Result<()> {
        sqlx::query("UPDATE networks SET flow_logs = $2 WHERE id = $1")
            .bind(self.network.id.to_string())
            .bind(i64::from(one_of))
            .execute(&mut *self.tx)
            .await?;
        self.network.flow_logs = one_of;
        self.changed(Subject::Network);
        Ok(())
    }

    /// Has nodes use a WireGuard key for so long.
    pub async fn set_key_lifetime(&mut self, lifetime: KeyLifetime) -> Result<()> {
        sqlx::query("UPDATE networks SET key_lifetime = $2 WHERE id = $1")
            .bind(self.network.id.to_string())
            .bind(signed(lifetime.seconds()))
            .execute(&mut *self.tx)
            .await?;
        self.network.key_lifetime = lifetime;
        self.changed(Subject::Network);
        Ok(())
    }

    /// Makes the change, and tells all instances. Gives the revision.
    pub async fn commit(mut self) -> Result<u64> {
        let network = self.network.id;
        let revision = self.network.revision;
        for (kind, subject) in self.subjects.iter().map(|subject| subject.columns()) {
            sqlx::query(
                "INSERT INTO changes (network, revision, kind, subject) VALUES ($1, $2, $3, $4)",
            )
            .bind(network.to_string())
            .bind(signed(revision))
            .bind(kind)
            .bind(subject)
            .execute(&mut *self.tx)
            .await?;
        }
        let news = [&[News::Network(network)][..], &self.more[..]].concat();
        self.store.publish(self.tx, &news).await?;
        Ok(revision)
    }
}
