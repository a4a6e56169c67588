//! What operators ask: REST under `/api/v1`. Each handler says what it takes and gives, and the
//! OpenAPI document at `/api/v1/openapi.json` is made of that, so it has every route and no other.

mod audit;
mod caller;
mod flows;
mod keys;
mod networks;
mod nodes;
mod policy;
mod relays;
mod tokens;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};
use utoipa::{IntoParams, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::peer::Stranger;
use crate::store::Page;
pub(crate) use caller::Caller;

/// The longest body of a request; a policy may be larger than anything else.
const MAX_BODY: usize = 256 << 10;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "nearwire-control", description = "Who is in a network, and what each node may do"),
    security(("token" = []))
)]
struct Described;

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next` of the page before
    #[serde(default)]
    #[param(max_length = 64)]
    after: String,
    /// The most that is wanted, up to 1000
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000)]
    limit: u32,
}

const fn hundred() -> u32 {
    100
}

impl From<PageQuery> for Page {
    fn from(query: PageQuery) -> Self {
        Self { after: query.after, limit: query.limit }
    }
}

/// The id with which the next page begins; nothing after the last page.
fn next<T, Id>(items: &[T], limit: u32, id: impl Fn(&T) -> Id) -> Option<Id> {
    let full = items.len() >= limit.clamp(1, crate::store::MAX_PAGE) as usize;
    items.last().filter(|_| full).map(id)
}

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(networks::list, networks::create))
        .routes(routes!(networks::get, networks::change, networks::delete))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::get, nodes::change, nodes::delete))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(relays::own, relays::put_own))
        .routes(routes!(relays::common, relays::put_common))
        .routes(routes!(relays::control_keys, relays::rotate))
        .routes(routes!(relays::retire))
        .routes(routes!(audit::of_network))
        .routes(routes!(audit::of_server))
        .routes(routes!(flows::list))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(policy::get, policy::put))
                .routes(routes!(policy::check))
                .routes(routes!(policy::versions))
                .routes(routes!(policy::version))
                .routes(routes!(policy::diff))
                .routes(routes!(policy::roll_back))
                .layer(DefaultBodyLimit::max(::policy::MAX_DOCUMENT_BYTES * 2)),
        )
}

/// The document.
#[must_use]
pub fn openapi() -> OpenApi {
    split().1
}

fn split() -> (Router<App>, OpenApi) {
    let (router, mut openapi) = described().split_for_parts();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    let operations = openapi.paths.paths.values_mut().flat_map(operations);
    operations.for_each(|operation| {
        operation.responses.responses.insert("503".to_owned(), RefOr::T(unavailable()));
    });
    (router, openapi)
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// What any route answers while the database is away.
fn unavailable() -> Response {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description("The database is away, or takes too long")
        .content("application/problem+json", problem)
        .build()
}

/// All routes.
pub fn router() -> Router<App> {
    let (router, openapi) = split();
    router.route("/api/v1/openapi.json", get(move |_: Stranger| async move { Json(openapi) }))
}
