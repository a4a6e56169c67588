//! Enrolment keys. Of their secrets there is a hash only.

use proto::ticket::NetworkId;
use sqlx::any::AnyRow;

use super::{
    Page, Result, Store, StoreError, Write, broken, json, network_id, number, signed, text, written,
};
use crate::core::bearer::{BearerId, Presented};
use crate::core::enrolment::EnrolmentKey;

/// An enrolment key, and where it leads.
#[derive(Clone, Debug)]
pub struct KeptKey {
    /// Its public part.
    pub id: BearerId,
    /// The network.
    pub network: NetworkId,
    /// What it allows.
    pub key: EnrolmentKey,
}

fn read(row: &AnyRow) -> Result<KeptKey> {
    let id = text(row, 0)?.parse().map_err(|error| broken("a key's id", error))?;
    let mut key: EnrolmentKey = json(row, 3, "an enrolment key")?;
    key.uses = number(row, 2)?;
    Ok(KeptKey { id, network: network_id(row, 1)?, key })
}

impl Store {
    /// The enrolment key that was presented; whether it still admits is not looked at.
    pub async fn find_key(&self, presented: &Presented) -> Result<Option<KeptKey>> {
        let row = sqlx::query(
            "SELECT id, network, uses, record FROM enrolment_keys WHERE id = $1 AND hash = $2",
        )
        .bind(presented.id.to_string())
        .bind(presented.hash.to_hex())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// The enrolment keys of a network, by id.
    pub async fn keys(&self, network: NetworkId, page: &Page) -> Result<Vec<KeptKey>> {
        let rows = sqlx::query(
            "SELECT id, network, uses, record FROM enrolment_keys \
             WHERE network = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(network.to_string())
        .bind(&page.after)
        .bind(page.limit())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }
}

impl Write {
    /// The enrolment key, as it is now that nobody else can use it.
    pub async fn key(&mut self, id: BearerId) -> Result<EnrolmentKey> {
        let row = sqlx::query(
            "SELECT id, network, uses, record FROM enrolment_keys WHERE network = $1 AND id = $2",
        )
        .bind(self.network.id.to_string())
        .bind(id.to_string())
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(read(&row.ok_or(StoreError::Missing("such enrolment key"))?)?.key)
    }

    /// Adds an enrolment key.
    pub async fn add_key(&mut self, kept: &Presented, key: &EnrolmentKey) -> Result<()> {
        sqlx::query(
            "INSERT INTO enrolment_keys (id, network, hash, uses, record) \
             VALUES ($1, $2, $3, 0, $4)",
        )
        .bind(kept.id.to_string())
        .bind(self.network.id.to_string())
        .bind(kept.hash.to_hex())
        .bind(written(key, "an enrolment key")?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Puts an enrolment key in place of what it was.
    pub async fn put_key(&mut self, id: BearerId, key: &EnrolmentKey) -> Result<()> {
        sqlx::query("UPDATE enrolment_keys SET uses = $2, record = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(signed(key.uses))
            .bind(written(key, "an enrolment key")?)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
