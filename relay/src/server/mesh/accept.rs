//! Links that other relays ask for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::greet::answer;
use super::{Shared, link};

/// Connections of which nobody knows yet who they are.
const STRANGERS: usize = 32;
/// How long one may be a stranger.
const GREETING: Duration = Duration::from_secs(3);

/// Takes connections until the endpoint is closed.
pub(super) async fn serve(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(STRANGERS));
    let mut links = JoinSet::new();
    while let Some(incoming) = shared.endpoint.accept().await {
        // Those that have ended are let go.
        while links.try_join_next().is_some() {}
        if !incoming.remote_address_validated() {
            // Nothing is kept for a source that has not shown itself.
            let _ = incoming.retry();
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let shared = shared.clone();
        links.spawn(async move {
            let from = incoming.remote_address();
            let greeting = async { answer(&shared, incoming.await?).await };
            let greeted = timeout(GREETING, greeting).await;
            drop(place);
            match greeted {
                Ok(Ok(greeted)) => link::serve(&shared, greeted).await,
                Ok(Err(error)) => tracing::warn!(%from, "no link to another relay: {error}"),
                Err(_) => tracing::warn!(%from, "no link: the greeting took too long"),
            }
        });
    }
}
