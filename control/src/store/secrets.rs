//! What must not be read by who reads the database: sealed, each under its own name.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::{ControlKeyId, SigningKey, UnixSeconds, VerifyingKey};
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use super::{
    News, Result, SERVER, Store, StoreError, broken, number, random, seconds, signed, text,
};
use crate::core::audit::Act;
use crate::core::seal::{SealKey, SealNonce};
use crate::core::session::SessionKey;
use crate::core::ticket_keys::TicketKeys;
use crate::core::view::TicketKey;

const SESSION: &str = "session";
const CONTROL: &str = "control key";

/// What the server needs of them.
pub struct Secrets {
    /// For challenges and sessions.
    pub session: SessionKey,
    /// For tickets.
    pub control: TicketKeys,
}

/// The public half of a control key.
#[derive(Clone, Copy, Debug)]
pub struct PublicControlKey {
    /// Its number, by which relays know it.
    pub id: ControlKeyId,
    /// What they check tickets with.
    pub key: VerifyingKey,
    /// When it was made.
    pub created: UnixSeconds,
    /// From when it signs.
    pub signs_from: UnixSeconds,
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
        Ok(Secrets { session: SessionKey::new(&session), control })
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
        self.publish(tx, News::Secrets).await
    }

    /// Forgets a secret.
    pub async fn forget_secret(&self, name: &str) -> Result<()> {
        let _turn = self.turn().await;
        let forget = sqlx::query("DELETE FROM secrets WHERE name = $1").bind(name);
        forget.execute(&self.pool).await?;
        Ok(())
    }

    /// The keys for tickets; nothing if there is none yet.
    pub async fn ticket_keys(&self, seal: &SealKey) -> Result<Option<TicketKeys>> {
        let rows = sqlx::query("SELECT id, sealed, signs_from FROM control_keys ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &AnyRow| -> Result<(UnixSeconds, TicketKey)> {
            let seed = seal.open(CONTROL, &decoded(row, 1)?)?;
            let seed: Zeroizing<[u8; 32]> = seed
                .as_slice()
                .try_into()
                .map(Zeroizing::new)
                .map_err(|_| broken("a control key", "it is not 32 bytes"))?;
            let key = SigningKey::from_seed(&seed)
                .ok_or_else(|| broken("a control key", "it is no seed"))?;
            Ok((seconds(row, 2)?, TicketKey { id: key_id(row, 0)?, key }))
        };
        Ok(TicketKeys::new(rows.iter().map(read).collect::<Result<Vec<_>>>()?))
    }

    /// Makes a new control key, with which all instances sign so many seconds from now.
    pub async fn rotate_control_key(
        &self,
        seal: &SealKey,
        now: UnixSeconds,
        lead: u64,
        actor: &str,
    ) -> Result<ControlKeyId> {
        let row = sqlx::query("SELECT COALESCE(MAX(id), 0) FROM control_keys")
            .fetch_one(&self.pool)
            .await?;
        let next = ControlKeyId(key_id(&row, 0)?.0 + 1);
        self.add_control_key(seal, next, now, lead, actor).await?;
        Ok(next)
    }

    async fn add_control_key(
        &self,
        seal: &SealKey,
        id: ControlKeyId,
        now: UnixSeconds,
        lead: u64,
        actor: &str,
    ) -> Result<()> {
        let signs_from = now.0.saturating_add(lead);
        let seed = Zeroizing::new(random::<32>()?);
        let key = SigningKey::from_seed(&seed)
            .ok_or_else(|| broken("a new control key", ring::error::Unspecified))?;
        let public = BASE64_STANDARD.encode(key.verifying_key().0);
        let sealed = seal.seal(CONTROL, seed.as_ref(), SealNonce(random()?))?;
        let act = Act {
            actor: actor.to_owned(),
            action: "control-key.create",
            subject: id.0.to_string(),
            detail: serde_json::json!({ "public": public, "signs_from": signs_from }),
        };
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        super::audit::append(&mut tx, SERVER, now, act).await?;
        let added = sqlx::query(
            "INSERT INTO control_keys (id, public, sealed, created, signs_from) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(i64::from(id.0))
        .bind(public)
        .bind(BASE64_STANDARD.encode(sealed))
        .bind(signed(now.0))
        .bind(signed(signs_from))
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() == 0 {
            // Another instance was faster: its key counts, and nothing is logged of this one.
            return Ok(());
        }
        self.publish(tx, News::ControlKeys).await
    }

    /// The public halves of all control keys, for the configuration of relays.
    pub async fn control_keys(&self) -> Result<Vec<PublicControlKey>> {
        let rows =
            sqlx::query("SELECT id, public, created, signs_from FROM control_keys ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        let read = |row: &AnyRow| {
            let public: [u8; 32] = decoded(row, 1)?
                .try_into()
                .map_err(|_| broken("a control key", "it is not 32 bytes"))?;
            Ok(PublicControlKey {
                id: key_id(row, 0)?,
                key: VerifyingKey(public),
                created: seconds(row, 2)?,
                signs_from: seconds(row, 3)?,
            })
        };
        rows.iter().map(read).collect()
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

fn key_id(row: &AnyRow, at: usize) -> Result<ControlKeyId> {
    let id = number(row, at)?;
    u32::try_from(id).map(ControlKeyId).map_err(|error| broken("a control key's number", error))
}

fn decoded(row: &AnyRow, at: usize) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text(row, at)?).map_err(|error| broken("a sealed secret", error))
}
