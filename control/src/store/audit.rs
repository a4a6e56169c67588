//! The audit log, one chain for each network and one for the server.

use proto::ticket::UnixSeconds;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{Result, Store, StoreError, Write, broken, number, seconds, signed, text};
use crate::core::audit::{Act, Broken, Entry, Link, Walk};

/// The chain of what is done above all networks.
pub const SERVER: &str = "server";

/// Entries that are read at once.
const READ: u32 = 1_000;

/// A part of a chain.
#[derive(Clone, Copy, Debug)]
pub struct AuditPage {
    /// The entry before the first one.
    pub after: u64,
    /// The most that is wanted.
    pub limit: u32,
}

/// Adds an entry, in the transaction of what it tells of.
pub(super) async fn append(
    tx: &mut Transaction<'static, Any>,
    chain: &str,
    now: UnixSeconds,
    act: Act,
) -> Result<()> {
    // The row is locked from here to the end: entries of one chain follow each other.
    let row = sqlx::query(
        "INSERT INTO chains (chain, number, hash) VALUES ($1, 1, '') \
         ON CONFLICT (chain) DO UPDATE SET number = chains.number + 1 RETURNING number, hash",
    )
    .bind(chain)
    .fetch_one(&mut **tx)
    .await?;
    let previous = match text(&row, 1)? {
        first if first.is_empty() => Link::default(),
        hash => Link::try_from(hash).map_err(|error| broken("the audit log's head", error))?,
    };
    let entry = Entry::after(chain, number(&row, 0)?, previous, now, act);
    sqlx::query(
        "INSERT INTO audit (chain, number, at, actor, action, subject, detail, previous, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&entry.chain)
    .bind(signed(entry.number))
    .bind(signed(entry.at.0))
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(&entry.subject)
    .bind(&entry.detail)
    .bind(String::from(entry.previous))
    .bind(String::from(entry.hash))
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE chains SET hash = $2 WHERE chain = $1")
        .bind(chain)
        .bind(String::from(entry.hash))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Write {
    /// Writes down what this change is, in the network's log.
    pub async fn audit(&mut self, act: Act) -> Result<()> {
        let chain = self.network.id.to_string();
        append(&mut self.tx, &chain, self.now, act).await
    }
}

impl Store {
    /// Writes down an act above all networks.
    pub async fn audit_server(&self, now: UnixSeconds, act: Act) -> Result<()> {
        let _turn = self.turn().await;
        let mut tx = self.pool.begin().await?;
        append(&mut tx, SERVER, now, act).await?;
        Ok(tx.commit().await?)
    }

    /// A part of a chain.
    pub async fn audit(&self, chain: &str, page: AuditPage) -> Result<Vec<Entry>> {
        let rows = sqlx::query(
            "SELECT chain, number, at, actor, action, subject, detail, previous, hash FROM audit \
             WHERE chain = $1 AND number > $2 ORDER BY number LIMIT $3",
        )
        .bind(chain)
        .bind(signed(page.after))
        .bind(i64::from(page.limit.clamp(1, super::MAX_PAGE)))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The chains that there are, with the numbers of their last entries.
    pub async fn chains(&self) -> Result<Vec<(String, u64, Link)>> {
        let rows = sqlx::query("SELECT chain, number, hash FROM chains ORDER BY chain")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &AnyRow| Ok((text(row, 0)?, number(row, 1)?, link(row, 2)?));
        rows.iter().map(read).collect()
    }

    /// Goes through a whole chain. Gives how many entries it has, or where it is broken.
    pub async fn verify_chain(
        &self,
        chain: &str,
        last: u64,
        hash: Link,
    ) -> Result<std::result::Result<u64, Broken>> {
        let (mut walk, mut after) = (Walk::default(), 0);
        while after < last {
            let entries = self.audit(chain, AuditPage { after, limit: READ }).await?;
            let Some(end) = entries.last().map(|entry| entry.number) else { break };
            // What came while this runs is not looked at.
            for entry in entries.iter().filter(|entry| entry.number <= last) {
                if let Err(broken) = walk.step(entry) {
                    return Ok(Err(broken));
                }
            }
            after = end;
        }
        Ok(walk.end(chain, last, hash))
    }
}

fn link(row: &AnyRow, at: usize) -> Result<Link> {
    Link::try_from(text(row, at)?).map_err(|error| broken("a link of the audit log", error))
}

fn read(row: &AnyRow) -> Result<Entry> {
    Ok::<_, StoreError>(Entry {
        chain: text(row, 0)?,
        number: number(row, 1)?,
        at: seconds(row, 2)?,
        actor: text(row, 3)?,
        action: text(row, 4)?,
        subject: text(row, 5)?,
        detail: text(row, 6)?,
        previous: link(row, 7)?,
        hash: link(row, 8)?,
    })
}
