//! Hears of changes: of this process, and by PostgreSQL of the others.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::broadcast::error::RecvError;

use super::Hub;
use crate::store::{Backend, News};

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
            Ok(news) => look(hub, news).await,
            Err(RecvError::Lagged(_)) => look_at_all(hub).await,
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
        look_at_all(hub).await;
    }
}

async fn follow(hub: &Hub, url: &str) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen("nearwire").await?;
    look_at_all(hub).await;
    while let Some(said) = listener.try_recv().await? {
        if let Ok(news) = said.payload().parse() {
            look(hub, news).await;
        }
    }
    Ok(())
}

async fn look(hub: &Hub, news: News) {
    let looked = match news {
        News::Network(network) => hub.refresh(network).await,
        News::ControlKeys => hub.refresh_ticket_keys().await,
        News::Revocations => hub.refresh_revocations().await,
        News::Secrets => {
            hub.0.secrets.send_replace(());
            hub.refresh_session_keys().await
        }
    };
    if let Err(error) = looked {
        tracing::warn!(%error, %news, "not up to date");
    }
}

async fn look_at_all(hub: &Hub) {
    look(hub, News::ControlKeys).await;
    look(hub, News::Secrets).await;
    look(hub, News::Revocations).await;
    hub.refresh_all().await;
}
