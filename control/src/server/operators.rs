//! The pages for operators: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::metrics;
use crate::app::App;
use crate::problem::Problem;

pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(app)
}

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// It can serve: the database answers.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    app.store().ping().await?;
    Ok("ready\n")
}

async fn show_metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, KIND)], metrics::page(&app).await?))
}
