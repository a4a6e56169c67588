//! Control keys, with which relay tickets are signed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::ticket::{ControlKeyId, SigningKey, UnixSeconds, VerifyingKey};
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use super::secrets::decoded;
use super::{News, Result, SERVER, Store, StoreError, broken, number, random, seconds, signed};
use crate::core::audit::Act;
use crate::core::seal::{SealKey, SealNonce};
use crate::core::ticket_keys::{InUse, TicketKeys, may_retire};
use crate::core::view::TicketKey;

/// The name under which they are sealed.
pub(super) const CONTROL: &str = "control key";

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

    pub(super) async fn add_control_key(
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
        self.publish(tx, &[News::ControlKeys]).await
    }

    /// Forgets a control key, if it signs nothing and nothing that it signed is good any more.
    pub async fn retire_control_key(
        &self,
        id: ControlKeyId,
        now: UnixSeconds,
        actor: &str,
    ) -> Result<std::result::Result<(), InUse>> {
        let act = Act {
            actor: actor.to_owned(),
            action: "control-key.retire",
            subject: id.0.to_string(),
            detail: serde_json::json!({}),
        };
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        // The log's head first: who adds or retires a key waits.
        super::audit::append(&mut tx, SERVER, now, act).await?;
        let rows = sqlx::query("SELECT id, signs_from FROM control_keys ORDER BY id")
            .fetch_all(&mut *tx)
            .await?;
        let read = |row: &AnyRow| Ok((key_id(row, 0)?, seconds(row, 1)?));
        let keys = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        if !keys.iter().any(|(known, _)| *known == id) {
            return Err(StoreError::Missing("such control key"));
        }
        if let Err(in_use) = may_retire(&keys, id, now) {
            return Ok(Err(in_use));
        }
        sqlx::query("DELETE FROM control_keys WHERE id = $1")
            .bind(i64::from(id.0))
            .execute(&mut *tx)
            .await?;
        self.publish(tx, &[News::ControlKeys]).await.map(Ok)
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
}

fn key_id(row: &AnyRow, at: usize) -> Result<ControlKeyId> {
    let id = number(row, at)?;
    u32::try_from(id).map(ControlKeyId).map_err(|error| broken("a control key's number", error))
}
