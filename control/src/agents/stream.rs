//! The stream of netmaps.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::bearer::Bearer;
use crate::app::App;
use crate::body::Query;
use crate::problem::Problem;

#[derive(Deserialize)]
pub(super) struct From {
    /// The revision that the node knows.
    after: Option<u64>,
}

pub(super) async fn stream(
    bearer: Bearer,
    State(app): State<App>,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    let (network, id) = (bearer.session.network, bearer.node.id);
    let listener = app.hub().listen(network, id, from.after).await?;
    let until = bearer.session.until;
    let lines = stream::unfold(listener, move |mut listener| async move {
        let line = listener.next(until).await?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        // nginx would wait for more.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
