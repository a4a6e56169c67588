//! What must not be read by who reads the database: sealed, each under its own name.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::{ControlKeyId, UnixSeconds};
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use super::control_keys::CONTROL;
use super::{News, Result, SERVER, Store, StoreError, broken, number, random, signed, text};
use crate::core::audit::Act;
use crate::core::seal::{SealKey, SealNonce};
use crate::core::session::{SessionKeys, with_next_key};
use crate::core::ticket_keys::TicketKeys;

const SESSION: &str = "session";

/// What the server needs of them.
pub struct Secrets {
    /// For challenges and sessions.
    pub session: SessionKeys,
    /// For tickets.
    pub control: TicketKeys,
}

impl Store {
    /// Opens the secrets; a database that has none gets them.
    pub async fn secrets(&self, seal: &SealKey, now: UnixSeconds) -> Result<Secrets> {
        let session = match self.secret(seal, SESSION).await? {
            Some(secret) => secret,
            None => {
                let secret = Zeroizing::new(random::<32>()?);
                let sealed = seal.seal(SESSION, secret.as_ref(), SealNonce(random()?))?;
                let _turn = self.turn().await;
                // Of two instances that start at once, the first one's counts.
                sqlx::query(
                    "INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(SESSION)
                .bind(BASE64_STANDARD.encode(sealed))
                .execute(&self.pool)
                .await?;
                let kept = self.secret(seal, SESSION).await?;
                kept.ok_or(StoreError::Missing("session secret"))?
            }
        };
        let control = match self.ticket_keys(seal).await? {
            Some(control) => control,
            None => {
                self.add_control_key(seal, ControlKeyId(1), now, 0, "server").await?;
                let made = self.ticket_keys(seal).await?;
                made.ok_or(StoreError::Missing("control key"))?
            }
        };
        let session = SessionKeys::read(&session);
        let session = session.ok_or_else(|| broken("the session keys", "of no such length"))?;
        Ok(Secrets { session, control })
    }

    /// The keys of sessions; nothing if there are none yet.
    pub async fn session_keys(&self, seal: &SealKey) -> Result<Option<SessionKeys>> {
        let Some(kept) = self.secret(seal, SESSION).await? else { return Ok(None) };
        let keys = SessionKeys::read(&kept);
        keys.map(Some).ok_or_else(|| broken("the session keys", "of no such length"))
    }

    /// Makes the next key of sessions, if its time has come.
    pub async fn rotate_session_key(&self, seal: &SealKey, now: UnixSeconds) -> Result<()> {
        let row = sqlx::query("SELECT sealed FROM secrets WHERE name = $1")
            .bind(SESSION)
            .fetch_optional(&self.pool)
            .await?;
        let Some(before) = row.map(|row| text(&row, 0)).transpose()? else { return Ok(()) };
        let sealed = BASE64_STANDARD.decode(&before);
        let kept =
            seal.open(SESSION, &sealed.map_err(|error| broken("a sealed secret", error))?)?;
        let secret = Zeroizing::new(random::<32>()?);
        let Some(next) = with_next_key(&kept, now, &secret) else { return Ok(()) };
        let sealed = seal.seal(SESSION, &next, SealNonce(random()?))?;
        let act = Act {
            actor: SERVER.to_owned(),
            action: "session-key.create",
            subject: SERVER.to_owned(),
            detail: serde_json::json!({}),
        };
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        super::audit::append(&mut tx, SERVER, now, act).await?;
        let changed = sqlx::query("UPDATE secrets SET sealed = $3 WHERE name = $1 AND sealed = $2")
            .bind(SESSION)
            .bind(before)
            .bind(BASE64_STANDARD.encode(sealed))
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            // Another instance was faster: its key counts, and nothing is logged of this one.
            return Ok(());
        }
        self.publish(tx, &[News::Secrets]).await
    }

    /// A secret by its name.
    pub async fn secret(&self, seal: &SealKey, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let row = sqlx::query("SELECT sealed FROM secrets WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok(seal.open(name, &decoded(&row, 0)?)?)).transpose()
    }

    /// Keeps a secret in place of what had its name.
    pub async fn keep_secret(&self, seal: &SealKey, name: &str, secret: &[u8]) -> Result<()> {
        let sealed = seal.seal(name, secret, SealNonce(random()?))?;
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO secrets (name, sealed) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
        )
        .bind(name)
        .bind(BASE64_STANDARD.encode(sealed))
        .execute(&mut *tx)
        .await?;
        self.publish(tx, &[News::Secrets]).await
    }

    /// Forgets a secret.
    pub async fn forget_secret(&self, name: &str) -> Result<()> {
        let _turn = self.turn().await;
        let forget = sqlx::query("DELETE FROM secrets WHERE name = $1").bind(name);
        forget.execute(&self.pool).await?;
        Ok(())
    }

    /// Seals all secrets anew with another key.
    pub async fn rekey(&self, old: &SealKey, new: &SealKey, now: UnixSeconds) -> Result<u64> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        let act = Act {
            actor: "local".to_owned(),
            action: "server.rekey",
            subject: SERVER.to_owned(),
            detail: serde_json::json!({}),
        };
        super::audit::append(&mut tx, SERVER, now, act).await?;
        let mut count = 0;
        let anew = |name: &str, sealed: Vec<u8>| -> Result<String> {
            let secret = old.open(name, &sealed)?;
            Ok(BASE64_STANDARD.encode(new.seal(name, &secret, SealNonce(random()?))?))
        };
        for row in sqlx::query("SELECT name, sealed FROM secrets").fetch_all(&mut *tx).await? {
            let name = text(&row, 0)?;
            sqlx::query("UPDATE secrets SET sealed = $1 WHERE name = $2")
                .bind(anew(&name, decoded(&row, 1)?)?)
                .bind(name)
                .execute(&mut *tx)
                .await?;
            count += 1;
        }
        for row in sqlx::query("SELECT id, sealed FROM control_keys").fetch_all(&mut *tx).await? {
            sqlx::query("UPDATE control_keys SET sealed = $1 WHERE id = $2")
                .bind(anew(CONTROL, decoded(&row, 1)?)?)
                .bind(signed(number(&row, 0)?))
                .execute(&mut *tx)
                .await?;
            count += 1;
        }
        tx.commit().await?;
        Ok(count)
    }
}

pub(super) fn decoded(row: &AnyRow, at: usize) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text(row, at)?).map_err(|error| broken("a sealed secret", error))
}
