//! What relays ask: whom they are not to serve, in a stream as that of nodes is.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use proto::control::{ALIVE_EVERY, Revoked};
use proto::ticket::NetworkId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::Caller;
use crate::app::App;
use crate::core::revocations::frame;
use crate::core::scope::Scope;
use crate::problem::Problem;

/// How long a stream lasts: its token is looked at again.
const LASTS: Duration = Duration::from_secs(600);

/// What relays ask.
pub fn router() -> Router<App> {
    Router::new().route("/relay/v1/revocations", get(revocations))
}

/// One relay's stream.
struct Follower {
    revoked: watch::Receiver<Arc<BTreeSet<Revoked>>>,
    draining: watch::Receiver<bool>,
    only: Option<NetworkId>,
    told: Option<Arc<BTreeSet<Revoked>>>,
    until: Instant,
}

async fn revocations(caller: Caller, State(app): State<App>) -> Result<Response, Problem> {
    caller.may(Scope::RelaysFollow)?;
    let follower = Follower {
        revoked: app.hub().revocations().await?,
        draining: app.hub().draining(),
        only: caller.0.token.network,
        told: None,
        until: Instant::now() + LASTS,
    };
    let lines = stream::unfold(follower, |mut follower| async move {
        let line = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), follower))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // nginx would wait for more.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

impl Follower {
    /// Waits for the next line, with its end; nothing after the last one.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if *self.draining.borrow() || self.until <= Instant::now() {
                return None;
            }
            let now = self.revoked.borrow_and_update().clone();
            let frame = frame(self.told.as_deref(), &now, self.only);
            self.told = Some(now);
            if let Some(frame) = frame {
                let mut line = serde_json::to_vec(&frame).ok()?;
                line.push(b'\n');
                return Some(line);
            }
            tokio::select! {
                // A closed channel is a hub that is gone.
                changed = self.revoked.changed() => changed.ok()?,
                changed = self.draining.changed() => changed.ok()?,
                () = sleep_until(self.until) => {}
                () = sleep(ALIVE_EVERY) => return Some(b"{}\n".to_vec()),
            }
        }
    }
}
