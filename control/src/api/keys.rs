//! `/networks/{network}/keys`: enrolment keys.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::nodes::owner;
use super::{PageQuery, next};
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::bearer::{BearerId, Kind};
use crate::core::enrolment::EnrolmentKey;
use crate::core::node::Owner;
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{KeptKey, Page, random};

/// The longest life of a key, in seconds: a year.
const LONGEST: u64 = 365 * 24 * 3600;

/// An enrolment key, without its secret
#[derive(Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Its public part
    id: String,
    description: String,
    /// Whose its nodes are
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// What its nodes are for
    tags: Vec<String>,
    /// Whether more than one node may come by it
    reusable: bool,
    /// Whether its nodes are deleted when they have been gone for a while
    ephemeral: bool,
    /// Whether its nodes need no approval
    approved: bool,
    /// When it ends, in seconds since 1970
    expires: u64,
    /// When it was taken back
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
    /// How many nodes came by it
    uses: u64,
}

/// A page of enrolment keys
#[derive(Serialize, ToSchema)]
pub(super) struct Keys {
    keys: Vec<KeyView>,
    /// Ask with this as `after` for the next page
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An enrolment key to make
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "tags": ["tag:server"], "reusable": true, "lasts": 86_400 }))]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// For people
    #[serde(default)]
    #[schema(max_length = 255)]
    description: String,
    /// Whose its nodes are
    user: Option<String>,
    /// What its nodes are for
    #[schema(max_items = 64)]
    tags: Option<Vec<String>>,
    /// Let more than one node come by it
    #[serde(default)]
    reusable: bool,
    /// Delete its nodes when they have been gone for a while
    #[serde(default)]
    ephemeral: bool,
    /// Let an operator approve each of its nodes
    #[serde(default)]
    manual_approval: bool,
    /// Seconds until it ends (default: a day, at most a year)
    #[schema(minimum = 1, maximum = 31_536_000)]
    lasts: Option<u64>,
}

/// An enrolment key with its secret, which is shown this once
#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// For `nearwire up --auth-key`
    secret: String,
    key: KeyView,
}

fn view(id: BearerId, key: &EnrolmentKey) -> KeyView {
    let (user, tags) = match &key.owner {
        Owner::User(user) => (Some(user.clone()), Vec::new()),
        Owner::Tags(tags) => (None, tags.clone()),
    };
    KeyView {
        id: id.to_string(),
        description: key.description.clone(),
        user,
        tags,
        reusable: key.reusable,
        ephemeral: key.ephemeral,
        approved: key.approved,
        expires: key.expires.0,
        revoked: key.revoked.map(|at| at.0),
        uses: key.uses,
    }
}

/// The enrolment keys of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/keys", tag = "keys", operation_id = "keys_list",
    params(("network" = String, Path), PageQuery),
    responses((status = 200, body = Keys), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Keys>, Problem> {
    let network = caller.network(&app, &network, Scope::KeysRead).await?;
    let page = Page::from(query);
    let kept = app.store().keys(network.id, &page).await?;
    let next = next(&kept, page.limit, |kept| kept.id.to_string());
    let keys = kept.iter().map(|KeptKey { id, key, .. }| view(*id, key)).collect();
    Ok(Json(Keys { keys, next }))
}

/// Make an enrolment key
#[utoipa::path(post, path = "/api/v1/networks/{network}/keys", tag = "keys", operation_id = "keys_create",
    params(("network" = String, Path)), request_body = NewKey,
    responses((status = 201, body = MadeKey), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(new): Body<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>), Problem> {
    let network = caller.network(&app, &network, Scope::KeysWrite).await?;
    let lasts = new.lasts.unwrap_or(24 * 3600);
    if !(1..=LONGEST).contains(&lasts) || new.description.len() > 255 {
        let reason = "`lasts` is 1 to 31536000 seconds, `description` up to 255 bytes";
        return Err(Problem::refused(reason, Vec::new()));
    }
    let key = EnrolmentKey {
        description: new.description,
        owner: owner(new.user, new.tags)?,
        reusable: new.reusable,
        ephemeral: new.ephemeral,
        approved: !new.manual_approval,
        expires: UnixSeconds(now().0.saturating_add(lasts)),
        revoked: None,
        uses: 0,
    };
    let (secret, kept) = Kind::EnrolmentKey.mint(random()?, &Zeroizing::new(random()?));
    let mut write = app.store().write(network.id, now()).await?;
    write.add_key(&kept, &key).await?;
    let detail = json!({
        "owner": key.owner,
        "reusable": key.reusable,
        "ephemeral": key.ephemeral,
        "approved": key.approved,
        "expires": key.expires,
    });
    write.audit(caller.act("key.create", kept.id, detail)).await?;
    write.commit().await?;
    let made = MadeKey { secret: secret.to_string(), key: view(kept.id, &key) };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take an enrolment key back; nodes that came by it stay
#[utoipa::path(delete, path = "/api/v1/networks/{network}/keys/{key}", tag = "keys", operation_id = "keys_revoke",
    params(("network" = String, Path), ("key" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    caller: Caller,
    State(app): State<App>,
    Path((network, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let network = caller.network(&app, &network, Scope::KeysWrite).await?;
    let id: BearerId = id.parse().map_err(|_| Problem::not_found("such enrolment key"))?;
    let mut write = app.store().write(network.id, now()).await?;
    let mut key = write.key(id).await?;
    if key.revoked.is_none() {
        key.revoked = Some(write.now());
        write.put_key(id, &key).await?;
        write.audit(caller.act("key.revoke", id, json!({}))).await?;
        write.commit().await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
