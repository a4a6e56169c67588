//! The pages for operators: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use certificates::Current;

use super::metrics;
use crate::app::App;
use crate::peer::Stranger;
use crate::problem::Problem;

/// What operators are shown.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) app: App,
    /// Nothing where TLS is not ours.
    pub(super) current: Option<Arc<Current>>,
}

pub(super) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(shown)
}

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// It can serve: the database answers.
pub(super) async fn readyz(
    State(app): State<App>,
    Stranger(_): Stranger,
) -> Result<&'static str, Problem> {
    app.store().ping().await?;
    Ok("ready\n")
}

/// The same, and there is a certificate. What is wrong with it is for operators only.
async fn ready(State(shown): State<Shown>) -> Result<String, Problem> {
    shown.app.store().ping().await?;
    let Some(certificate) = shown.current.map(|current| current.report()) else {
        return Ok("ready\n".to_owned());
    };
    match (certificate.current, certificate.trouble) {
        (Some(_), None) => Ok("ready\n".to_owned()),
        (Some(_), Some(trouble)) => Ok(format!("ready, with the old certificate: {trouble}\n")),
        (None, None) => Err(Problem::unavailable("there is no certificate yet")),
        (None, Some(trouble)) => {
            Err(Problem::unavailable(format!("there is no certificate: {trouble}")))
        }
    }
}

async fn show_metrics(State(shown): State<Shown>) -> Result<impl IntoResponse, Problem> {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let certificate = shown.current.map(|current| current.report());
    Ok(([(header::CONTENT_TYPE, KIND)], metrics::page(&shown.app, certificate.as_ref()).await?))
}
