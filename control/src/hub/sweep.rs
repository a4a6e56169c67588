//! What happens because time passes: keys end, ephemeral nodes vanish, instances die.

use std::time::Duration;

use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use serde_json::json;

use super::Hub;
use crate::clock::{self, now};
use crate::core::audit::Act;
use crate::store::StoreError;

/// How long each of it takes.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// How often it is looked at.
    pub every: Duration,
    /// Seconds after which an instance that is not heard of counts as dead.
    pub dead_after: u64,
    /// Seconds after which an ephemeral node that is gone is deleted.
    pub ephemeral_after: u64,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), dead_after: 40, ephemeral_after: 600 }
    }
}

/// Looks again and again, for ever. Every instance does; what one has done the next finds done.
pub async fn sweep(hub: Hub, settings: Sweep) {
    let mut tick = tokio::time::interval(settings.every);
    loop {
        tick.tick().await;
        if let Err(error) = once(&hub, settings).await {
            tracing::warn!(%error, "the sweep was not finished");
        }
        // What was not told, for whatever reason.
        if let Err(error) = hub.refresh_ticket_keys().await {
            tracing::warn!(%error, "the keys for tickets are those of before");
        }
        if let Err(error) = hub.refresh_session_keys().await {
            tracing::warn!(%error, "the keys of sessions are those of before");
        }
        if let Err(error) = hub.refresh_revocations().await {
            tracing::warn!(%error, "relays are told what they were before");
        }
        hub.refresh_all().await;
    }
}

async fn once(hub: &Hub, settings: Sweep) -> Result<(), StoreError> {
    let store = &hub.0.store;
    clock::follow(store).await?;
    let now = now();
    store.beat(hub.instance()).await?;
    let ago = |seconds| UnixSeconds(now.0.saturating_sub(seconds));
    // Who was long without the database, others took for dead with all its nodes.
    for (network, id) in hub.taken_for_gone() {
        gone(store.connect_node(network, id, hub.instance(), now).await)?;
    }
    for (network, id, instance) in store.orphans(settings.dead_after).await? {
        gone(store.disconnect_node(network, id, &instance, now).await)?;
    }
    for (network, id) in store.lapsing(now).await? {
        gone(lapse(hub, network, id, now).await)?;
    }
    for (network, id) in store.vanished(ago(settings.ephemeral_after)).await? {
        gone(vanish(hub, network, id, now).await)?;
    }
    store.rotate_session_key(&hub.0.seal, now).await?;
    store.forget_revocations().await?;
    store.forget_changes().await
}

async fn lapse(
    hub: &Hub,
    network: NetworkId,
    id: NodeId,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let mut write = hub.0.store.write(network, now).await?;
    let mut node = write.node(id).await?;
    if node.lapsed || !node.is_expired(now) {
        return Ok(());
    }
    node.lapsed = true;
    write.put_node(&node).await?;
    write.audit(by_the_server("node.expire", id)).await?;
    write.commit().await.map(drop)
}

async fn vanish(
    hub: &Hub,
    network: NetworkId,
    id: NodeId,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let mut write = hub.0.store.write(network, now).await?;
    let node = write.node(id).await?;
    if node.online {
        return Ok(());
    }
    write.delete_node(&node).await?;
    write.audit(by_the_server("node.vanish", id)).await?;
    write.commit().await.map(drop)
}

fn by_the_server(action: &'static str, id: NodeId) -> Act {
    Act { actor: "server".to_owned(), action, subject: id.to_string(), detail: json!({}) }
}

/// Another instance may have been faster.
fn gone(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(StoreError::Missing(_)) => Ok(()),
        other => other,
    }
}
