//! The protocol of nodes, as `proto::control` describes it.

mod bearer;
mod enrol;
mod report;
mod session;
mod stream;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use proto::control::MAX_REQUEST;

use crate::app::App;
pub(crate) use bearer::bearer_text;

/// What nodes ask.
pub fn router() -> Router<App> {
    Router::new()
        .route("/agent/v1/enrol", post(enrol::enrol))
        .route("/agent/v1/challenge", post(session::challenge))
        .route("/agent/v1/session", post(session::session))
        .route("/agent/v1/renew", post(session::renew))
        .route("/agent/v1/report", post(report::report))
        .route("/agent/v1/leave", post(report::leave))
        .route("/agent/v1/stream", get(stream::stream))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
}
