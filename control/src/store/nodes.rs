//! Nodes, their addresses, and who speaks with them.

use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds, VerifyingKey};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    Page, Result, Store, StoreError, Subject, Write, json, network_id, number, seconds, signed,
    taken, text, written,
};
use crate::core::ipam::Host;
use crate::core::label;
use crate::core::node::Node;

const COLUMNS: &str = "record, instance, seen, network";

/// A node, and when it was last heard of.
#[derive(Clone, Debug)]
pub struct KeptNode {
    /// The node.
    pub node: Node,
    /// When its stream last began or ended.
    pub seen: UnixSeconds,
    /// Its network.
    pub network: NetworkId,
}

fn read(row: &AnyRow) -> Result<KeptNode> {
    let mut node: Node = json(row, 0, "a node")?;
    node.online = row.try_get::<Option<String>, _>(1)?.is_some();
    Ok(KeptNode { node, seen: seconds(row, 2)?, network: network_id(row, 3)? })
}

impl Store {
    /// A node of whatever network.
    pub async fn find_node(&self, id: NodeId) -> Result<KeptNode> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE id = $1");
        let row =
            sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(&self.pool).await?;
        read(&row.ok_or(StoreError::Missing("such node"))?)
    }

    /// A node of a network.
    pub async fn node(&self, network: NetworkId, id: NodeId) -> Result<KeptNode> {
        let kept = self.find_node(id).await?;
        if kept.network == network { Ok(kept) } else { Err(StoreError::Missing("such node")) }
    }

    /// Nodes of a network, by id.
    pub async fn nodes(&self, network: NetworkId, page: &Page) -> Result<Vec<KeptNode>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM nodes WHERE network = $1 AND id > $2 ORDER BY id LIMIT $3"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(network.to_string())
            .bind(&page.after)
            .bind(page.limit())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// All nodes of a network.
    pub async fn all_nodes(&self, network: NetworkId) -> Result<Vec<Node>> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE network = $1");
        let rows =
            sqlx::query(AssertSqlSafe(sql)).bind(network.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(|row| read(row).map(|kept| kept.node)).collect()
    }

    /// Nodes whose node key has ended, and of which nobody was told yet.
    pub async fn lapsing(&self, now: UnixSeconds) -> Result<Vec<(NetworkId, NodeId)>> {
        self.ids("SELECT network, id FROM nodes WHERE expires <= $1 AND lapsed = 0 LIMIT 1000", now)
            .await
    }

    /// Ephemeral nodes that have been gone since before then.
    pub async fn vanished(&self, before: UnixSeconds) -> Result<Vec<(NetworkId, NodeId)>> {
        self.ids(
            "SELECT network, id FROM nodes \
             WHERE ephemeral = 1 AND instance IS NULL AND seen <= $1 LIMIT 1000",
            before,
        )
        .await
    }

    async fn ids(&self, sql: &'static str, than: UnixSeconds) -> Result<Vec<(NetworkId, NodeId)>> {
        let rows = sqlx::query(sql).bind(signed(than.0)).fetch_all(&self.pool).await?;
        rows.iter().map(read_ids).collect()
    }

    /// How many nodes there are, and how many of them are online.
    pub async fn count_nodes(&self) -> Result<(u64, u64)> {
        let row = sqlx::query("SELECT COUNT(*), COUNT(instance) FROM nodes")
            .fetch_one(&self.pool)
            .await?;
        Ok((number(&row, 0)?, number(&row, 1)?))
    }
}

pub(super) fn read_ids(row: &AnyRow) -> Result<(NetworkId, NodeId)> {
    let id = text(row, 1)?.parse().map_err(|error| super::broken("a node's id", error))?;
    Ok((network_id(row, 0)?, id))
}

impl Write {
    /// A node of this network.
    pub async fn node(&mut self, id: NodeId) -> Result<Node> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE network = $1 AND id = $2");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(self.network.id.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        let node = read(&row.ok_or(StoreError::Missing("such node"))?)?.node;
        self.served.insert(node.id, node.is_served());
        Ok(node)
    }

    /// All nodes of this network.
    pub async fn nodes(&mut self) -> Result<Vec<Node>> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE network = $1");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.network.id.to_string())
            .fetch_all(&mut *self.tx)
            .await?;
        rows.iter().map(|row| read(row).map(|kept| kept.node)).collect()
    }

    /// The node of this network that has the node key.
    pub async fn node_by_key(&mut self, key: &VerifyingKey) -> Result<Option<Node>> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE network = $1 AND node_key = $2");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(self.network.id.to_string())
            .bind(hex::encode(key.0))
            .fetch_optional(&mut *self.tx)
            .await?;
        let node = row.map(|row| read(&row).map(|kept| kept.node)).transpose()?;
        if let Some(node) = &node {
            self.served.insert(node.id, node.is_served());
        }
        Ok(node)
    }

    /// A number for a new node.
    pub async fn take_host(&mut self) -> Result<Host> {
        let id = self.network.id.to_string();
        let fresh = sqlx::query("SELECT next_host FROM networks WHERE id = $1")
            .bind(&id)
            .fetch_one(&mut *self.tx)
            .await?;
        let fresh = host(&fresh, 0)?;
        let oldest = sqlx::query(
            "SELECT host, since FROM released WHERE network = $1 ORDER BY since, host LIMIT 1",
        )
        .bind(&id)
        .fetch_optional(&mut *self.tx)
        .await?;
        let oldest = oldest.map(|row| Ok::<_, StoreError>((host(&row, 0)?, seconds(&row, 1)?)));
        let chosen = self.network.plan.choose(fresh, oldest.transpose()?, self.now)?;
        let sql = if chosen == fresh {
            "UPDATE networks SET next_host = $2 + 1 WHERE id = $1"
        } else {
            "DELETE FROM released WHERE network = $1 AND host = $2"
        };
        sqlx::query(sql).bind(&id).bind(i64::from(chosen.0)).execute(&mut *self.tx).await?;
        Ok(chosen)
    }

    /// A name for a new node, made of what it calls itself.
    pub async fn free_name(&mut self, hostname: &str) -> Result<String> {
        let label = label::from_hostname(hostname);
        // A prefix holds every numbered form, cut ones too.
        let stem = &label[..label.len().min(50)];
        let rows = sqlx::query("SELECT name FROM nodes WHERE network = $1 AND name LIKE $2")
            .bind(self.network.id.to_string())
            .bind(format!("{stem}%"))
            .fetch_all(&mut *self.tx)
            .await?;
        let names: Result<std::collections::HashSet<String>> =
            rows.iter().map(|row| text(row, 0)).collect();
        let names = names?;
        Ok(label::unique(&label, |name| names.contains(name)))
    }

    /// Adds a node.
    pub async fn add_node(&mut self, node: &Node) -> Result<()> {
        sqlx::query(
            "INSERT INTO nodes (id, network, name, host, node_key, wireguard_key, expires, \
             ephemeral, lapsed, instance, seen, record) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10, $11)",
        )
        .bind(node.id.to_string())
        .bind(self.network.id.to_string())
        .bind(&node.name)
        .bind(i64::from(node.host.0))
        .bind(hex::encode(node.node_key.0))
        .bind(node.key.to_hex())
        .bind(node.expires.map(|end| signed(end.0)))
        .bind(i64::from(node.ephemeral))
        .bind(i64::from(node.lapsed))
        .bind(signed(self.now.0))
        .bind(written(node, "a node")?)
        .execute(&mut *self.tx)
        .await
        .map_err(taken("the node's name or key"))?;
        self.changed(Subject::Node(node.id));
        // It may have been here before, and deleted.
        if node.is_served() { self.tell_relays(node, true).await } else { Ok(()) }
    }

    /// Puts a node in place of what it was.
    pub async fn put_node(&mut self, node: &Node) -> Result<()> {
        sqlx::query(
            "UPDATE nodes SET name = $3, node_key = $4, wireguard_key = $5, expires = $6, \
             ephemeral = $7, lapsed = $8, record = $9 WHERE network = $1 AND id = $2",
        )
        .bind(self.network.id.to_string())
        .bind(node.id.to_string())
        .bind(&node.name)
        .bind(hex::encode(node.node_key.0))
        .bind(node.key.to_hex())
        .bind(node.expires.map(|end| signed(end.0)))
        .bind(i64::from(node.ephemeral))
        .bind(i64::from(node.lapsed))
        .bind(written(node, "a node")?)
        .execute(&mut *self.tx)
        .await
        .map_err(taken("the node's name or key"))?;
        self.changed(Subject::Node(node.id));
        self.tell_relays(node, node.is_served()).await
    }

    /// Takes a node out of the network; its number rests.
    pub async fn delete_node(&mut self, node: &Node) -> Result<()> {
        let network = self.network.id.to_string();
        sqlx::query("DELETE FROM nodes WHERE network = $1 AND id = $2")
            .bind(&network)
            .bind(node.id.to_string())
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("INSERT INTO released (network, host, since) VALUES ($1, $2, $3)")
            .bind(&network)
            .bind(i64::from(node.host.0))
            .bind(signed(self.now.0))
            .execute(&mut *self.tx)
            .await?;
        self.changed(Subject::Node(node.id));
        self.tell_relays(node, false).await
    }
}

fn host(row: &AnyRow, at: usize) -> Result<Host> {
    let number = number(row, at)?;
    u32::try_from(number).map(Host).map_err(|error| super::broken("a host number", error))
}
