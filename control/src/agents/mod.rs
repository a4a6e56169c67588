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

/// The longest body that is read of who has shown no right: that of a node with all its routes.
const MAX_STRANGERS: usize = 64 << 10;

/// What nodes ask.
pub fn router() -> Router<App> {
    let strangers = Router::new()
        .route("/agent/v1/enrol", post(enrol::enrol))
        .route("/agent/v1/challenge", post(session::challenge))
        .route("/agent/v1/session", post(session::session))
        .layer(DefaultBodyLimit::max(MAX_STRANGERS));
    Router::new()
        .route("/agent/v1/renew", post(session::renew))
        .route("/agent/v1/report", post(report::report))
        .route("/agent/v1/leave", post(report::leave))
        .route("/agent/v1/stream", get(stream::stream))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .merge(strangers)
}
