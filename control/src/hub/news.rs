//! Hears of changes: of this process, and by PostgreSQL of the others.

use std::time::Duration;

use proto::ticket::NetworkId;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast::error::RecvError;

use super::Hub;
use crate::store::Backend;

/// How long to wait before the database is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the networks in memory up to date, for ever.
pub async fn listen(hub: Hub, url: String) {
    let own = own_changes(&hub);
    match hub.0.store.backend() {
        Backend::Sqlite => own.await,
        Backend::Postgres => {
            tokio::join!(own, others_changes(&hub, &url));
        }
    }
}

async fn own_changes(hub: &Hub) {
    let mut news = hub.0.store.news();
    loop {
        match news.recv().await {
            Ok(network) => refresh(hub, network).await,
            Err(RecvError::Lagged(_)) => hub.refresh_all().await,
            Err(RecvError::Closed) => return,
        }
    }
}

async fn others_changes(hub: &Hub, url: &str) {
    loop {
        if let Err(error) = follow(hub, url).await {
            tracing::warn!(%error, "hears nothing of other instances: trying again");
        }
        tokio::time::sleep(AGAIN).await;
        // What was said meanwhile was not heard.
        hub.refresh_all().await;
    }
}

async fn follow(hub: &Hub, url: &str) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen("nearwire").await?;
    hub.refresh_all().await;
    while let Some(said) = listener.try_recv().await? {
        if let Ok(network) = said.payload().parse::<NetworkId>() {
            refresh(hub, network).await;
        }
    }
    Ok(())
}

async fn refresh(hub: &Hub, network: NetworkId) {
    if let Err(error) = hub.refresh(network).await {
        tracing::warn!(%error, %network, "not up to date");
    }
}
