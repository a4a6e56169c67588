//! Whom relays are not to serve: kept until the last ticket has ended that could be shown.

use std::collections::BTreeSet;

use proto::control::Revoked;
use proto::ticket::{NetworkId, VerifyingKey};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::{News, Result, Store, Write, broken, network_id, signed, text};
use crate::core::node::Node;
use crate::core::view::TICKET_LASTS;

/// How far the clocks of instances, which sign tickets, may be apart, in seconds.
const SKEW: u64 = 600;

impl Write {
    /// Relays hear of a node that has lost the right to be served, or has it again. What is as it was
    /// when it was read costs nothing.
    pub(super) async fn tell_relays(&mut self, node: &Node, is_served: bool) -> Result<()> {
        if self.served.insert(node.id, is_served) == Some(is_served) {
            return Ok(());
        }
        for identity in [Some(node.node_key), node.last_node_key].into_iter().flatten() {
            if is_served {
                sqlx::query("DELETE FROM revocations WHERE network = $1 AND identity = $2")
                    .bind(self.network.id.to_string())
                    .bind(hex::encode(identity.0))
                    .execute(&mut *self.tx)
                    .await?;
            } else {
                revoke(&mut self.tx, &self.store, self.network.id, Some(identity)).await?;
            }
        }
        self.tell(News::Revocations);
        Ok(())
    }
}

/// Relays are not to serve a node, or nobody of the network.
pub(super) async fn revoke(
    tx: &mut Transaction<'static, Any>,
    store: &Store,
    network: NetworkId,
    identity: Option<VerifyingKey>,
) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO revocations (network, identity, until) VALUES ($1, $2, {} + $3) \
         ON CONFLICT (network, identity) DO UPDATE SET until = excluded.until",
        store.clock()
    )))
    .bind(network.to_string())
    .bind(identity.map(|key| hex::encode(key.0)).unwrap_or_default())
    .bind(signed(TICKET_LASTS + SKEW))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl Store {
    /// Whom relays are not to serve.
    pub async fn revocations(&self) -> Result<BTreeSet<Revoked>> {
        let rows =
            sqlx::query("SELECT network, identity FROM revocations").fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Forgets those of whom no ticket is good any more.
    pub async fn forget_revocations(&self) -> Result<()> {
        let _turn = self.turn().await;
        let forget = format!("DELETE FROM revocations WHERE until <= {}", self.clock());
        sqlx::query(AssertSqlSafe(forget)).execute(&self.pool).await?;
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<Revoked> {
    let identity = match text(row, 1)? {
        all if all.is_empty() => None,
        one => {
            let mut key = [0; 32];
            hex::decode_to_slice(one, &mut key).map_err(|error| broken("a node key", error))?;
            Some(VerifyingKey(key))
        }
    };
    Ok(Revoked { network: network_id(row, 0)?, identity })
}
