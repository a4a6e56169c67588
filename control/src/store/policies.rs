//! Policies, in versions that stay.

use proto::ticket::{NetworkId, UnixSeconds};
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Result, Store, StoreError, Subject, Write, number, seconds, signed, text};

/// A version of a policy.
#[derive(Clone, Debug)]
pub struct PolicyVersion {
    /// About it.
    pub info: PolicyInfo,
    /// The document.
    pub text: String,
}

/// About a version of a policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyInfo {
    /// Its number, from one.
    pub version: u64,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When.
    pub created: UnixSeconds,
}

fn info(row: &AnyRow) -> Result<PolicyInfo> {
    Ok(PolicyInfo {
        version: number(row, 0)?,
        author: text(row, 1)?,
        comment: text(row, 2)?,
        created: seconds(row, 3)?,
    })
}

impl Store {
    /// A version of a network's policy; the last one if none is named.
    pub async fn policy(&self, network: NetworkId, version: Option<u64>) -> Result<PolicyVersion> {
        let row = sqlx::query(
            "SELECT version, author, comment, created, text FROM policies \
             WHERE network = $1 AND ($2 = 0 OR version = $2) ORDER BY version DESC LIMIT 1",
        )
        .bind(network.to_string())
        .bind(signed(version.unwrap_or(0)))
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::Missing("such version of the policy"))?;
        Ok(PolicyVersion { info: info(&row)?, text: text(&row, 4)? })
    }

    /// The versions before one, newest first.
    pub async fn policy_versions(
        &self,
        network: NetworkId,
        before: u64,
        limit: u32,
    ) -> Result<Vec<PolicyInfo>> {
        let rows = sqlx::query(
            "SELECT version, author, comment, created FROM policies \
             WHERE network = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
        )
        .bind(network.to_string())
        .bind(signed(before))
        .bind(i64::from(limit.clamp(1, super::MAX_PAGE)))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(info).collect()
    }
}

impl Write {
    /// Puts a text in force, as the next version. It was accepted before.
    pub async fn put_policy(&mut self, text: &str, author: &str, comment: &str) -> Result<u64> {
        let network = self.network.id.to_string();
        let row =
            sqlx::query("UPDATE networks SET policy = policy + 1 WHERE id = $1 RETURNING policy")
                .bind(&network)
                .fetch_one(&mut *self.tx)
                .await?;
        let version = number(&row, 0)?;
        sqlx::query(
            "INSERT INTO policies (network, version, text, author, comment, created) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&network)
        .bind(signed(version))
        .bind(text)
        .bind(author)
        .bind(comment)
        .bind(signed(self.now.0))
        .execute(&mut *self.tx)
        .await?;
        self.network.policy = version;
        self.changed(Subject::Policy);
        Ok(version)
    }
}
