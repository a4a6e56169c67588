//! `/networks/{network}/flows`: what became of flows, as nodes tell it.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use proto::control::FlowEvent;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::next;
use crate::app::App;
use crate::body::{Path, Query};
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{FlowQuery, KeptFlow};

/// A flow
#[derive(Serialize, ToSchema)]
struct FlowView {
    /// Its number in the network
    number: u64,
    /// Who told of it
    node: String,
    /// When, in seconds since 1970
    at: u64,
    /// `start`, `end` or `denied`
    #[schema(value_type = String)]
    event: FlowEvent,
    /// The protocol's number
    protocol: u8,
    source: String,
    source_port: u16,
    destination: String,
    destination_port: u16,
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Flows, newest first
#[derive(Serialize, ToSchema)]
pub(super) struct Flows {
    flows: Vec<FlowView>,
    /// Ask with this as `before` for the next page
    next: Option<u64>,
}

/// Which flows
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FlowsQuery {
    /// Those before this number
    #[serde(default)]
    before: u64,
    /// The most that is wanted, up to 1000
    #[serde(default = "super::hundred")]
    #[param(minimum = 1, maximum = 1000)]
    limit: u32,
    /// Those that this node told of
    node: Option<String>,
    /// Those from or to this address
    address: Option<String>,
    /// `start`, `end` or `denied`
    #[param(value_type = Option<String>)]
    event: Option<FlowEvent>,
    /// Those at or after this moment, in seconds since 1970
    #[serde(default)]
    since: u64,
}

fn view(KeptFlow { number, node, flow }: KeptFlow) -> FlowView {
    FlowView {
        number,
        node: node.to_string(),
        at: flow.at.0,
        event: flow.event,
        protocol: flow.protocol,
        source: flow.source.to_string(),
        source_port: flow.source_port,
        destination: flow.destination.to_string(),
        destination_port: flow.destination_port,
        packets: flow.packets,
        bytes: flow.bytes,
        reason: flow.reason,
    }
}

/// What became of flows
#[utoipa::path(get, path = "/api/v1/networks/{network}/flows", tag = "flows", operation_id = "flows_list",
    params(("network" = String, Path), FlowsQuery),
    responses((status = 200, body = Flows), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<FlowsQuery>,
) -> Result<Json<Flows>, Problem> {
    let network = caller.network(&app, &network, Scope::FlowsRead).await?;
    let wrong = |name: &str, error: String| Problem::bad(format!("`{name}`: {error}"));
    let node = query.node.map(|id| id.parse()).transpose();
    let address = query.address.map(|ip| ip.parse::<IpAddr>()).transpose();
    let query = FlowQuery {
        before: query.before,
        limit: query.limit,
        node: node
            .map_err(|error: proto::control::NodeIdError| wrong("node", error.to_string()))?,
        address: address.map_err(|error| wrong("address", error.to_string()))?,
        event: query.event,
        since: query.since,
    };
    let kept = app.store().flows(network.id, &query).await?;
    let next = next(&kept, query.limit, |kept| kept.number);
    Ok(Json(Flows { flows: kept.into_iter().map(view).collect(), next }))
}
