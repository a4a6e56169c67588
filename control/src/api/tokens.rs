//! `/tokens`: API tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::{PageQuery, next};
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::bearer::{BearerId, Kind};
use crate::core::scope::{Scope, Token};
use crate::problem::Problem;
use crate::store::{KeptToken, Page, random};

/// An API token, without its secret
#[derive(Serialize, ToSchema)]
pub(super) struct TokenView {
    /// Its public part
    id: String,
    description: String,
    /// The only network that it opens
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// What it may do
    scopes: Vec<String>,
    /// When it ends, in seconds since 1970
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    /// When it was taken back
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
}

/// A page of tokens
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    tokens: Vec<TokenView>,
    /// Ask with this as `after` for the next page
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A token to make
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// For people
    #[serde(default)]
    #[schema(max_length = 255)]
    description: String,
    /// The only network that it opens, by id or name
    network: Option<String>,
    /// What it may do, as `nodes:read`
    #[schema(max_items = 64)]
    scopes: Vec<String>,
    /// Seconds until it ends (default: never)
    #[schema(minimum = 1)]
    lasts: Option<u64>,
}

/// A token with its secret, which is shown this once
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// For `Authorization: Bearer`
    secret: String,
    token: TokenView,
}

fn view(id: BearerId, token: &Token) -> TokenView {
    TokenView {
        id: id.to_string(),
        description: token.description.clone(),
        network: token.network.map(|network| network.to_string()),
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        expires: token.expires.map(|at| at.0),
        revoked: token.revoked.map(|at| at.0),
    }
}

/// The tokens that this one may see
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", operation_id = "tokens_list", params(PageQuery),
    responses((status = 200, body = Tokens), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Tokens>, Problem> {
    caller.may(Scope::TokensRead)?;
    let page = Page::from(query);
    let kept = app.store().tokens(caller.0.token.network, &page).await?;
    let next = next(&kept, page.limit, |kept| kept.id.to_string());
    let tokens = kept.iter().map(|KeptToken { id, token }| view(*id, token)).collect();
    Ok(Json(Tokens { tokens, next }))
}

/// Make a token; it can do no more than the one that makes it
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", operation_id = "tokens_create", request_body = NewToken,
    responses((status = 201, body = MadeToken), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    caller: Caller,
    State(app): State<App>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    caller.may(Scope::TokensWrite)?;
    let refused = |reason: String| Problem::refused(reason, Vec::new());
    if new.description.len() > 255 || new.scopes.len() > 64 || new.lasts == Some(0) {
        let reason = "`description` is up to 255 bytes, `scopes` up to 64, `lasts` at least 1";
        return Err(refused(reason.to_owned()));
    }
    let network = match &new.network {
        Some(name) => Some(caller.network(&app, name, Scope::TokensWrite).await?.id),
        None => None,
    };
    let scopes: Result<Vec<Scope>, _> = new.scopes.iter().map(|scope| scope.parse()).collect();
    let token = Token {
        description: new.description,
        network,
        scopes: scopes.map_err(|error| refused(error.to_string()))?,
        expires: new.lasts.map(|lasts| UnixSeconds(now().0.saturating_add(lasts))),
        revoked: None,
    };
    if !caller.0.token.includes(&token) {
        let reason =
            "the new token would do more, elsewhere or for longer than the one that makes it";
        return Err(Problem::forbidden(reason));
    }
    let (secret, kept) = Kind::ApiToken.mint(random()?, &Zeroizing::new(random()?));
    let detail = json!({
        "network": token.network, "scopes": token.scopes, "expires": token.expires,
    });
    let act = caller.act("token.create", kept.id, detail);
    app.store().add_token(&kept, &token, now(), act).await?;
    let made = MadeToken { secret: secret.to_string(), token: view(kept.id, &token) };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take a token back
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "tokens", operation_id = "tokens_revoke",
    params(("token" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may(Scope::TokensWrite)?;
    let missing = || Problem::not_found("such token");
    let id: BearerId = id.parse().map_err(|_| missing())?;
    let KeptToken { mut token, .. } = app.store().token(id).await?;
    if !caller.0.token.opens(token.network) {
        return Err(missing());
    }
    if token.revoked.is_none() {
        token.revoked = Some(now());
        let act = caller.act("token.revoke", id, json!({}));
        app.store().put_token(id, &token, now(), act).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
