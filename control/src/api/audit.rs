//! `/audit`: what was done.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::next;
use crate::app::App;
use crate::body::{Path, Query};
use crate::core::audit::Entry;
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{AuditPage, SERVER};

/// An act
#[derive(Serialize, ToSchema)]
struct EntryView {
    /// Its number in its log
    number: u64,
    /// When, in seconds since 1970
    at: u64,
    /// By whom
    actor: String,
    /// What
    action: String,
    /// To what
    subject: String,
    /// How, as JSON text
    detail: String,
    /// The hash of the entry before
    previous: String,
    /// The hash of this one
    hash: String,
}

/// A part of a log
#[derive(Serialize, ToSchema)]
pub(super) struct Audit {
    entries: Vec<EntryView>,
    /// Ask with this as `after` for the next page
    next: Option<u64>,
}

/// Which part
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// The number of the last entry that is known
    #[serde(default)]
    after: u64,
    /// The most that is wanted, up to 1000
    #[serde(default = "super::hundred")]
    #[param(minimum = 1, maximum = 1000)]
    limit: u32,
}

fn view(entry: Entry) -> EntryView {
    EntryView {
        number: entry.number,
        at: entry.at.0,
        actor: entry.actor,
        action: entry.action,
        subject: entry.subject,
        detail: entry.detail,
        previous: entry.previous.into(),
        hash: entry.hash.into(),
    }
}

async fn page(app: &App, chain: &str, query: &AuditQuery) -> Result<Json<Audit>, Problem> {
    let page = AuditPage { after: query.after, limit: query.limit };
    let entries = app.store().audit(chain, page).await?;
    let next = next(&entries, query.limit, |entry| entry.number);
    Ok(Json(Audit { entries: entries.into_iter().map(view).collect(), next }))
}

/// What was done in a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/audit", tag = "audit", operation_id = "audit_of_network",
    params(("network" = String, Path), AuditQuery),
    responses((status = 200, body = Audit), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn of_network(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Audit>, Problem> {
    let network = caller.network(&app, &network, Scope::AuditRead).await?;
    page(&app, &network.id.to_string(), &query).await
}

/// What was done above all networks
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", operation_id = "audit_of_server", params(AuditQuery),
    responses((status = 200, body = Audit), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn of_server(
    caller: Caller,
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Audit>, Problem> {
    caller.may_above(Scope::AuditRead)?;
    page(&app, SERVER, &query).await
}
