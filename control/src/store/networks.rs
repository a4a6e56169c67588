//! Networks, and what has changed in them.

use proto::control::Network;
use proto::ticket::{NetworkId, UnixSeconds};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::{
    News, Page, Result, Store, StoreError, Subject, broken, network_id, number, seconds, signed,
    taken, text,
};
use crate::core::audit::Act;
use crate::core::ipam::AddressPlan;
use crate::core::key_lifetime::KeyLifetime;
use crate::core::policy_text;
use crate::core::rule_book::Written;

pub(super) const COLUMNS: &str =
    "id, name, v4, v6, revision, policy, created, flow_logs, key_lifetime";

/// Changes that are kept for instances that are behind.
const KEPT_CHANGES: u64 = 10_000;

/// A network, as it is kept.
#[derive(Clone, Debug)]
pub struct KeptNetwork {
    /// Its name for ever.
    pub id: NetworkId,
    /// What it is called.
    pub name: String,
    /// Where its addresses come from.
    pub plan: AddressPlan,
    /// The last change.
    pub revision: u64,
    /// The version of the policy in force.
    pub policy: u64,
    /// When it was made.
    pub created: UnixSeconds,
    /// One of so many flows its nodes tell of; none at 0.
    pub flow_logs: u32,
    /// How long its nodes use a WireGuard key.
    pub key_lifetime: KeyLifetime,
}

impl KeptNetwork {
    /// As its nodes see it.
    #[must_use]
    pub fn as_network(&self) -> Network {
        let (v4, v6) = (self.plan.v4(), self.plan.v6());
        Network { id: self.id, name: self.name.clone(), v4, v6, flow_logs: self.flow_logs }
    }
}

pub(super) fn read_network(row: &AnyRow) -> Result<KeptNetwork> {
    let net = |error| broken("a network's prefix", error);
    let v4 = text(row, 2)?.parse().map_err(net)?;
    let v6 = text(row, 3)?.parse().map_err(net)?;
    Ok(KeptNetwork {
        id: network_id(row, 0)?,
        name: text(row, 1)?,
        plan: AddressPlan::new(v4, v6).map_err(|error| broken("an address plan", error))?,
        revision: number(row, 4)?,
        policy: number(row, 5)?,
        created: seconds(row, 6)?,
        flow_logs: u32::try_from(number(row, 7)?)
            .map_err(|e| broken("a network's flow logs", e))?,
        key_lifetime: KeyLifetime::try_from(number(row, 8)?)
            .map_err(|e| broken("the lifetime of a network's keys", e))?,
    })
}

impl Store {
    /// Makes a network; its policy allows nothing.
    pub async fn create_network(
        &self,
        id: NetworkId,
        name: &str,
        plan: &AddressPlan,
        now: UnixSeconds,
        actor: &str,
    ) -> Result<KeptNetwork> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO networks (id, name, v4, v6, revision, next_host, policy, created) \
             VALUES ($1, $2, $3, $4, 1, 1, 1, $5)",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(plan.v4().to_string())
        .bind(plan.v6().to_string())
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await
        .map_err(taken("the network's name"))?;
        sqlx::query(
            "INSERT INTO policies (network, version, text, author, comment, created) \
             VALUES ($1, 1, $2, $3, '', $4)",
        )
        .bind(id.to_string())
        .bind(policy_text::EMPTY)
        .bind(actor)
        .bind(signed(now.0))
        .execute(&mut *tx)
        .await?;
        let act = Act {
            actor: actor.to_owned(),
            action: "network.create",
            subject: id.to_string(),
            detail: serde_json::json!({ "name": name, "v4": plan.v4(), "v6": plan.v6() }),
        };
        super::audit::append(&mut tx, super::SERVER, now, act).await?;
        tx.commit().await?;
        self.network(&id.to_string()).await
    }

    /// Deletes a network with all that is in it; its audit log stays.
    pub async fn delete_network(
        &self,
        network: &KeptNetwork,
        now: UnixSeconds,
        actor: &str,
    ) -> Result<()> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        let id = network.id.to_string();
        sqlx::query("UPDATE networks SET revision = revision + 1 WHERE id = $1")
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        for table in [
            "flows",
            "changes",
            "policies",
            "tokens",
            "enrolment_keys",
            "released",
            "nodes",
            "regions",
        ] {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {table} WHERE network = $1")))
                .bind(&id)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("DELETE FROM networks WHERE id = $1").bind(&id).execute(&mut *tx).await?;
        let act = Act {
            actor: actor.to_owned(),
            action: "network.delete",
            subject: id.clone(),
            detail: serde_json::json!({ "name": network.name }),
        };
        super::audit::append(&mut tx, super::SERVER, now, act).await?;
        super::revocations::revoke(&mut tx, self, network.id, None).await?;
        self.publish(tx, &[News::Network(network.id), News::Revocations]).await
    }

    /// The network of this id, or of this name.
    pub async fn network(&self, id_or_name: &str) -> Result<KeptNetwork> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM networks WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC"
        )))
        .bind(id_or_name)
        .fetch_optional(&self.pool)
        .await?;
        read_network(&row.ok_or(StoreError::Missing("such network"))?)
    }

    /// Networks, by id.
    pub async fn networks(&self, page: &Page) -> Result<Vec<KeptNetwork>> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM networks WHERE id > $1 ORDER BY id LIMIT $2"
        )))
        .bind(&page.after)
        .bind(page.limit())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_network).collect()
    }

    /// The last change of a network; nothing if there is no such network.
    pub async fn revision(&self, network: NetworkId) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT revision FROM networks WHERE id = $1")
            .bind(network.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| number(&row, 0)).transpose()
    }

    /// What has changed after a revision, up to another; nothing if that is not known any more.
    pub async fn changes(
        &self,
        network: NetworkId,
        after: u64,
        until: u64,
    ) -> Result<Option<Vec<Subject>>> {
        if until.saturating_sub(after) >= KEPT_CHANGES {
            return Ok(None);
        }
        let rows = sqlx::query(
            "SELECT DISTINCT kind, subject FROM changes \
             WHERE network = $1 AND revision > $2 AND revision <= $3",
        )
        .bind(network.to_string())
        .bind(signed(after))
        .bind(signed(until))
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &AnyRow| {
            let (kind, subject) = (text(row, 0)?, text(row, 1)?);
            Subject::read(&kind, &subject).ok_or_else(|| broken("a change", kind))
        };
        rows.iter().map(read).collect::<Result<_>>().map(Some)
    }

    /// Forgets changes that are too old for anybody.
    pub async fn forget_changes(&self) -> Result<()> {
        let _turn = self.turn().await;
        sqlx::query(
            "DELETE FROM changes WHERE revision <= \
             (SELECT revision FROM networks WHERE networks.id = changes.network) - $1",
        )
        .bind(signed(KEPT_CHANGES))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The document in force.
    pub async fn document(&self, network: &KeptNetwork) -> Result<Written> {
        let kept = self.policy(network.id, Some(network.policy)).await?;
        Written::read(&kept.text).map_err(|errors| {
            let reason = errors.first().map(ToString::to_string).unwrap_or_default();
            broken("the policy in force", reason)
        })
    }
}
