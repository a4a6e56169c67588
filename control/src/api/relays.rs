//! `/regions` and `/control-keys`: the relays, and the keys by which they know tickets.

use std::collections::HashSet;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::control::{Region, RegionId, Relay};
use proto::ticket::ControlKeyId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::scope::Scope;
use crate::core::ticket_keys::{MOST_LEAD, USUAL_LEAD};
use crate::problem::Problem;
use crate::store::PublicControlKey;

/// Regions and relays of a region, at most.
const MOST: usize = 256;

/// The relays, by region
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Regions {
    #[schema(max_items = 256)]
    regions: Vec<RegionView>,
}

/// Relays that are near each other
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegionView {
    /// Its number
    id: u16,
    /// What it is called
    #[schema(max_length = 255)]
    name: String,
    #[schema(max_items = 256)]
    relays: Vec<RelayView>,
}

/// A relay
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RelayView {
    /// The name in its certificate
    #[schema(max_length = 255)]
    host: String,
    /// Where it is; if empty, its name is looked up
    #[serde(default)]
    #[schema(max_items = 256)]
    addresses: Vec<String>,
    /// Its TCP port of TLS
    tls_port: u16,
    /// Its UDP port of QUIC
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quic_port: Option<u16>,
    /// SHA-256 of certificates that are good, in hexadecimal
    #[serde(default)]
    #[schema(max_items = 256)]
    certificates: Vec<String>,
}

/// A key with which tickets are signed
#[derive(Serialize, ToSchema)]
pub(super) struct ControlKeyView {
    /// Its number
    id: u32,
    /// Its public half, as base64
    public: String,
    /// As a relay's `control-keys` takes it: `ID:KEY`
    text: String,
    /// When it was made, in seconds since 1970
    created: u64,
    /// From when it signs, in seconds since 1970
    signs_from: u64,
}

/// When a new key signs
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NewControlKey {
    /// In how many seconds, so that relays can be told of it first
    #[serde(default = "usual_lead")]
    #[param(maximum = 2_592_000)]
    signs_in: u64,
}

const fn usual_lead() -> u64 {
    USUAL_LEAD
}

/// The keys with which tickets are signed: the newest whose time has come signs
#[derive(Serialize, ToSchema)]
pub(super) struct ControlKeys {
    keys: Vec<ControlKeyView>,
}

impl From<Region> for RegionView {
    fn from(region: Region) -> Self {
        let relay = |relay: Relay| RelayView {
            host: relay.host,
            addresses: relay.addresses.iter().map(ToString::to_string).collect(),
            tls_port: relay.tls_port,
            quic_port: relay.quic_port,
            certificates: relay.certificates,
        };
        let relays = region.relays.into_iter().map(relay).collect();
        Self { id: region.id.0, name: region.name, relays }
    }
}

fn right(regions: Regions) -> Result<Vec<Region>, Problem> {
    let refused = |reason: String| Problem::refused(reason, Vec::new());
    let mut seen = HashSet::new();
    let too_many = regions.regions.len() > MOST
        || regions.regions.iter().any(|region| region.relays.len() > MOST);
    if too_many {
        return Err(refused(format!("more than {MOST} regions, or relays of a region")));
    }
    let plain = |text: &str| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    let relay = |relay: RelayView| {
        if !plain(&relay.host) {
            return Err(refused("`host` is 1 to 255 bytes without control characters".to_owned()));
        }
        if relay.addresses.len() > MOST || relay.certificates.len() > MOST {
            return Err(refused(format!(
                "{} has more than {MOST} addresses or certificates",
                relay.host
            )));
        }
        let addresses: Result<Vec<IpAddr>, _> =
            relay.addresses.iter().map(|address| address.parse()).collect();
        let digest = |text: &String| hex::decode(text).is_ok_and(|bytes| bytes.len() == 32);
        if let Some(wrong) = relay.certificates.iter().find(|text| !digest(text)) {
            return Err(refused(format!("{wrong:?} is no SHA-256 in hexadecimal")));
        }
        Ok(Relay {
            addresses: addresses.map_err(|error| refused(format!("`addresses`: {error}")))?,
            host: relay.host,
            tls_port: relay.tls_port,
            quic_port: relay.quic_port,
            certificates: relay.certificates,
        })
    };
    let region = |region: RegionView| {
        if !seen.insert(region.id) {
            return Err(refused(format!("the region {} is there twice", region.id)));
        }
        if !plain(&region.name) {
            return Err(refused("`name` is 1 to 255 bytes without control characters".to_owned()));
        }
        let relays = region.relays.into_iter().map(relay).collect::<Result<_, _>>()?;
        Ok(Region { id: RegionId(region.id), name: region.name, relays })
    };
    regions.regions.into_iter().map(region).collect()
}

fn shown(regions: Vec<Region>) -> Json<Regions> {
    Json(Regions { regions: regions.into_iter().map(Into::into).collect() })
}

/// The relays of a network's own; if none, those of all are used
#[utoipa::path(get, path = "/api/v1/networks/{network}/regions", tag = "relays", operation_id = "relays_own",
    params(("network" = String, Path)),
    responses((status = 200, body = Regions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn own(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
) -> Result<Json<Regions>, Problem> {
    let network = caller.network(&app, &network, Scope::RelaysRead).await?;
    Ok(shown(app.store().own_regions(Some(network.id)).await?))
}

/// Name a network's own relays
#[utoipa::path(put, path = "/api/v1/networks/{network}/regions", tag = "relays", operation_id = "relays_put_own",
    params(("network" = String, Path)), request_body = Regions,
    responses((status = 200, body = Regions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_own(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(regions): Body<Regions>,
) -> Result<Json<Regions>, Problem> {
    let network = caller.network(&app, &network, Scope::RelaysWrite).await?;
    let regions = right(regions)?;
    let mut write = app.store().write(network.id, now()).await?;
    write.put_regions(&regions).await?;
    write.audit(caller.act("regions.put", network.id, json!({ "regions": regions }))).await?;
    write.commit().await?;
    Ok(shown(regions))
}

/// The relays of all networks that have none of their own
#[utoipa::path(get, path = "/api/v1/regions", tag = "relays", operation_id = "relays_common",
    responses((status = 200, body = Regions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn common(
    caller: Caller,
    State(app): State<App>,
) -> Result<Json<Regions>, Problem> {
    caller.may_above(Scope::RelaysRead)?;
    Ok(shown(app.store().own_regions(None).await?))
}

/// Name the relays of all networks that have none of their own
#[utoipa::path(put, path = "/api/v1/regions", tag = "relays", operation_id = "relays_put_common", request_body = Regions,
    responses((status = 200, body = Regions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_common(
    caller: Caller,
    State(app): State<App>,
    Body(regions): Body<Regions>,
) -> Result<Json<Regions>, Problem> {
    caller.may_above(Scope::RelaysWrite)?;
    let regions = right(regions)?;
    let act = caller.act("regions.put", "server", json!({ "regions": regions }));
    app.store().put_common_regions(&regions, now(), act).await?;
    Ok(shown(regions))
}

/// The keys by which relays know tickets
#[utoipa::path(get, path = "/api/v1/control-keys", tag = "relays", operation_id = "relays_control_keys",
    responses((status = 200, body = ControlKeys), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn control_keys(
    caller: Caller,
    State(app): State<App>,
) -> Result<Json<ControlKeys>, Problem> {
    caller.may_above(Scope::RelaysRead)?;
    let view = |PublicControlKey { id, key, created, signs_from }: PublicControlKey| {
        let public = BASE64_STANDARD.encode(key.0);
        let text = format!("{}:{public}", id.0);
        let (created, signs_from) = (created.0, signs_from.0);
        ControlKeyView { id: id.0, public, text, created, signs_from }
    };
    let keys = app.store().control_keys().await?.into_iter().map(view).collect();
    Ok(Json(ControlKeys { keys }))
}

/// Forget a key that signs no more, and whose last ticket has ended
#[utoipa::path(delete, path = "/api/v1/control-keys/{key}", tag = "relays", operation_id = "relays_retire",
    params(("key" = u32, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retire(
    caller: Caller,
    State(app): State<App>,
    Path(key): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may_above(Scope::RelaysWrite)?;
    let id = key.parse().map(ControlKeyId).map_err(|_| Problem::not_found("such control key"))?;
    match app.store().retire_control_key(id, now(), &caller.actor()).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(in_use) => Err(Problem::conflict(in_use.to_string())),
    }
}

/// Make another key for tickets, with which all instances sign when its time has come
#[utoipa::path(post, path = "/api/v1/control-keys", tag = "relays", operation_id = "relays_rotate", params(NewControlKey),
    responses((status = 201, body = ControlKeys), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    caller: Caller,
    State(app): State<App>,
    Query(new): Query<NewControlKey>,
) -> Result<(StatusCode, Json<ControlKeys>), Problem> {
    caller.may_above(Scope::RelaysWrite)?;
    if new.signs_in > MOST_LEAD {
        return Err(Problem::refused("`signs_in` is more than 30 days", Vec::new()));
    }
    let store = app.store();
    store.rotate_control_key(app.seal(), now(), new.signs_in, &caller.actor()).await?;
    Ok((StatusCode::CREATED, control_keys(caller, State(app)).await?))
}
