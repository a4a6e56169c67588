//! `/networks`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proto::ticket::NetworkId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::{PageQuery, next};
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::ipam::AddressPlan;
use crate::core::key_lifetime::KeyLifetime;
use crate::core::label;
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{KeptNetwork, Page, random};

/// A network
#[derive(Serialize, ToSchema)]
pub(super) struct NetworkView {
    /// Its name for ever
    id: String,
    /// What it is called
    name: String,
    /// Where its nodes' IPv4 addresses come from
    v4: String,
    /// Where their IPv6 addresses come from
    v6: String,
    /// The number of its last change
    revision: u64,
    /// The version of the policy in force
    policy: u64,
    /// When it was made, in seconds since 1970
    created: u64,
    /// One of so many flows its nodes tell of; none at 0
    flow_logs: u32,
    /// For how many seconds its nodes use a WireGuard key
    key_lifetime: u64,
}

/// What is set for a network; what is left out stays
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkChange {
    /// One of so many flows its nodes tell of; none at 0
    flow_logs: Option<u32>,
    /// For how many seconds its nodes use a WireGuard key: from an hour to a year
    #[schema(minimum = 3_600, maximum = 31_536_000)]
    key_lifetime: Option<u64>,
}

/// A page of networks
#[derive(Serialize, ToSchema)]
pub(super) struct Networks {
    networks: Vec<NetworkView>,
    /// Ask with this as `after` for the next page
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A network to make
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNetwork {
    /// What it is called: a label of a domain name
    #[schema(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    name: String,
    /// Where its nodes' IPv4 addresses come from (default: 100.64.0.0/10)
    v4: Option<String>,
    /// Where their IPv6 addresses come from (default: a random /64 of fd00::/8)
    v6: Option<String>,
}

impl From<KeptNetwork> for NetworkView {
    fn from(network: KeptNetwork) -> Self {
        Self {
            id: network.id.to_string(),
            name: network.name,
            v4: network.plan.v4().to_string(),
            v6: network.plan.v6().to_string(),
            revision: network.revision,
            policy: network.policy,
            created: network.created.0,
            flow_logs: network.flow_logs,
            key_lifetime: network.key_lifetime.seconds(),
        }
    }
}

/// The networks that the token opens
#[utoipa::path(get, path = "/api/v1/networks", tag = "networks", operation_id = "networks_list", params(PageQuery),
    responses((status = 200, body = Networks), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Networks>, Problem> {
    caller.may(Scope::NetworksRead)?;
    let page = Page::from(query);
    let kept = match caller.0.token.network {
        Some(own) if own.to_string() > page.after => {
            vec![app.store().network(&own.to_string()).await?]
        }
        Some(_) => Vec::new(),
        None => app.store().networks(&page).await?,
    };
    let next = next(&kept, page.limit, |network| network.id.to_string());
    Ok(Json(Networks { networks: kept.into_iter().map(Into::into).collect(), next }))
}

/// Make a network; its policy allows nothing
#[utoipa::path(post, path = "/api/v1/networks", tag = "networks", operation_id = "networks_create", request_body = NewNetwork,
    responses((status = 201, body = NetworkView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    caller: Caller,
    State(app): State<App>,
    Body(new): Body<NewNetwork>,
) -> Result<(StatusCode, Json<NetworkView>), Problem> {
    caller.may_above(Scope::NetworksWrite)?;
    if !label::is_label(&new.name) {
        let reason = "`name` must be a label of a domain name: letters a to z, digits, hyphens";
        return Err(Problem::refused(reason, Vec::new()));
    }
    let usual = AddressPlan::usual(random()?);
    let wrong = |field, error| Problem::refused(format!("`{field}`: {error}"), Vec::new());
    let v4 = new.v4.map_or(Ok(usual.v4()), |v4| v4.parse());
    let v6 = new.v6.map_or(Ok(usual.v6()), |v6| v6.parse());
    let v4 = v4.map_err(|error| wrong("v4", error))?;
    let v6 = v6.map_err(|error| wrong("v6", error))?;
    let plan = AddressPlan::new(v4, v6)
        .map_err(|error| Problem::refused(error.to_string(), Vec::new()))?;
    let id = NetworkId(random()?);
    let made = app.store().create_network(id, &new.name, &plan, now(), &caller.actor()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// A network, by id or name
#[utoipa::path(get, path = "/api/v1/networks/{network}", tag = "networks", operation_id = "networks_get",
    params(("network" = String, Path)),
    responses((status = 200, body = NetworkView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
) -> Result<Json<NetworkView>, Problem> {
    Ok(Json(caller.network(&app, &network, Scope::NetworksRead).await?.into()))
}

/// Change what is set for a network
#[utoipa::path(patch, path = "/api/v1/networks/{network}", tag = "networks", operation_id = "networks_change",
    params(("network" = String, Path)), request_body = NetworkChange,
    responses((status = 200, body = NetworkView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn change(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(change): Body<NetworkChange>,
) -> Result<Json<NetworkView>, Problem> {
    let network = caller.network(&app, &network, Scope::NetworksWrite).await?;
    let lifetime = change.key_lifetime.map(KeyLifetime::try_from).transpose();
    let lifetime = lifetime
        .map_err(|error| Problem::refused(format!("`key_lifetime`: {error}"), Vec::new()))?;
    let flow_logs = change.flow_logs.filter(|one_of| *one_of != network.flow_logs);
    let lifetime = lifetime.filter(|lifetime| *lifetime != network.key_lifetime);
    if flow_logs.is_some() || lifetime.is_some() {
        let mut write = app.store().write(network.id, now()).await?;
        let mut detail = serde_json::Map::new();
        if let Some(one_of) = flow_logs {
            write.set_flow_logs(one_of).await?;
            detail.insert("flow_logs".to_owned(), one_of.into());
        }
        if let Some(lifetime) = lifetime {
            write.set_key_lifetime(lifetime).await?;
            detail.insert("key_lifetime".to_owned(), lifetime.seconds().into());
        }
        write.audit(caller.act("network.change", network.id, detail.into())).await?;
        write.commit().await?;
    }
    Ok(Json(app.store().network(&network.id.to_string()).await?.into()))
}

/// Delete a network with its nodes; its audit log stays
#[utoipa::path(delete, path = "/api/v1/networks/{network}", tag = "networks", operation_id = "networks_delete",
    params(("network" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
) -> Result<StatusCode, Problem> {
    let network = caller.network(&app, &network, Scope::NetworksWrite).await?;
    caller.may_above(Scope::NetworksWrite)?;
    app.store().delete_network(&network, now(), &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
