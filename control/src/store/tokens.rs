//! API tokens. Of their secrets there is a hash only.

use proto::ticket::UnixSeconds;
use sqlx::any::AnyRow;

use super::{Page, Result, SERVER, Store, StoreError, broken, json, text, written};
use crate::core::audit::Act;
use crate::core::bearer::{BearerId, Presented};
use crate::core::scope::Token;

/// An API token.
#[derive(Clone, Debug)]
pub struct KeptToken {
    /// Its public part.
    pub id: BearerId,
    /// What it may do.
    pub token: Token,
}

fn read(row: &AnyRow) -> Result<KeptToken> {
    let id = text(row, 0)?.parse().map_err(|error| broken("a token's id", error))?;
    Ok(KeptToken { id, token: json(row, 1, "a token")? })
}

impl Store {
    /// The token that was presented; whether it is still good is not looked at.
    pub async fn find_token(&self, presented: &Presented) -> Result<Option<KeptToken>> {
        let row = sqlx::query("SELECT id, record FROM tokens WHERE id = $1 AND hash = $2")
            .bind(presented.id.to_string())
            .bind(presented.hash.to_hex())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// A token by its public part.
    pub async fn token(&self, id: BearerId) -> Result<KeptToken> {
        let row = sqlx::query("SELECT id, record FROM tokens WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        read(&row.ok_or(StoreError::Missing("such token"))?)
    }

    /// Tokens, by id: those of one network, or all.
    pub async fn tokens(
        &self,
        network: Option<proto::ticket::NetworkId>,
        page: &Page,
    ) -> Result<Vec<KeptToken>> {
        let network = network.map(|network| network.to_string()).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT id, record FROM tokens \
             WHERE ($1 = '' OR network = $1) AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(network)
        .bind(&page.after)
        .bind(page.limit())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Adds a token.
    pub async fn add_token(
        &self,
        kept: &Presented,
        token: &Token,
        now: UnixSeconds,
        act: Act,
    ) -> Result<()> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        super::audit::append(&mut tx, SERVER, now, act).await?;
        sqlx::query("INSERT INTO tokens (id, network, hash, record) VALUES ($1, $2, $3, $4)")
            .bind(kept.id.to_string())
            .bind(token.network.map(|network| network.to_string()))
            .bind(kept.hash.to_hex())
            .bind(written(token, "a token")?)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Puts a token in place of what it was.
    pub async fn put_token(
        &self,
        id: BearerId,
        token: &Token,
        now: UnixSeconds,
        act: Act,
    ) -> Result<()> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        super::audit::append(&mut tx, SERVER, now, act).await?;
        sqlx::query("UPDATE tokens SET record = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(written(token, "a token")?)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}
