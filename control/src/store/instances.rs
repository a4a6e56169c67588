//! Which instance speaks with which node. A node is online while one does; an instance that is not
//! heard of any more speaks with nobody.

use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use sqlx::AssertSqlSafe;

use super::nodes::read_ids;
use super::{Backend, Result, Store, Subject, signed};

impl Store {
    /// The database's own time, in seconds: instances may have clocks that differ.
    pub(super) const fn clock(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => "CAST(strftime('%s', 'now') AS BIGINT)",
            Backend::Postgres => "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)",
        }
    }

    /// The time, in milliseconds since 1970, as the database has it.
    pub(crate) async fn time(&self) -> Result<u64> {
        let milliseconds = match self.backend {
            Backend::Sqlite => "(julianday('now') - 2440587.5) * 86400000",
            Backend::Postgres => "EXTRACT(EPOCH FROM clock_timestamp()) * 1000",
        };
        let sql = format!("SELECT CAST({milliseconds} AS BIGINT)");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.pool).await?;
        super::number(&row, 0)
    }

    /// This instance is there.
    pub async fn beat(&self, instance: &str) -> Result<()> {
        let _turn = self.turn().await;
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO instances (id, seen) VALUES ($1, {}) \
             ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
            self.clock()
        )))
        .bind(instance)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// An instance begins to speak with a node.
    pub async fn connect_node(
        &self,
        network: NetworkId,
        id: NodeId,
        instance: &str,
        now: UnixSeconds,
    ) -> Result<()> {
        let mut write = self.write(network, now).await?;
        let was_online = write.node(id).await?.online;
        sqlx::query("UPDATE nodes SET instance = $2, seen = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(instance)
            .bind(signed(now.0))
            .execute(&mut *write.tx)
            .await?;
        if !was_online {
            write.changed(Subject::Node(id));
        }
        write.commit().await?;
        Ok(())
    }

    /// An instance does not speak with a node any more; another may have begun to.
    pub async fn disconnect_node(
        &self,
        network: NetworkId,
        id: NodeId,
        instance: &str,
        now: UnixSeconds,
    ) -> Result<()> {
        let mut write = self.write(network, now).await?;
        let done = sqlx::query(
            "UPDATE nodes SET instance = NULL, seen = $3 WHERE id = $1 AND instance = $2",
        )
        .bind(id.to_string())
        .bind(instance)
        .bind(signed(now.0))
        .execute(&mut *write.tx)
        .await?;
        if done.rows_affected() > 0 {
            write.changed(Subject::Node(id));
            write.commit().await?;
        }
        Ok(())
    }

    /// The nodes of instances that were not heard of for so many seconds, and of those that are
    /// unknown.
    pub async fn orphans(&self, silent: u64) -> Result<Vec<(NetworkId, NodeId, String)>> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT nodes.network, nodes.id, nodes.instance FROM nodes \
             LEFT JOIN instances ON instances.id = nodes.instance \
             WHERE nodes.instance IS NOT NULL \
             AND (instances.seen IS NULL OR instances.seen < {} - $1) LIMIT 1000",
            self.clock()
        )))
        .bind(signed(silent))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let (network, node) = read_ids(row)?;
                Ok((network, node, super::text(row, 2)?))
            })
            .collect()
    }
}
