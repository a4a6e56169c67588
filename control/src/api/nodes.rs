//! `/networks/{network}/nodes`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ipnet::IpNet;
use proto::control::{NodeId, Standing};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::caller::Caller;
use super::{PageQuery, next};
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::ipam::AddressPlan;
use crate::core::label;
use crate::core::node::{Node, Owner};
use crate::core::routes;
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{KeptNode, Page};

/// A node
#[derive(Serialize, ToSchema)]
pub(super) struct NodeView {
    /// Its name for ever
    id: String,
    /// What it is called
    name: String,
    /// Its addresses
    addresses: Vec<String>,
    /// Whose it is
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// What it is for
    tags: Vec<String>,
    /// Whether it may speak to its peers
    approved: bool,
    /// Whether it is deleted when it has been gone for a while
    ephemeral: bool,
    /// Whether it speaks with the control plane
    online: bool,
    /// When its stream last began or ended, in seconds since 1970
    seen: u64,
    /// When it came
    created: u64,
    /// When its node key ends
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    /// Whether its node key has ended
    lapsed: bool,
    /// Its WireGuard key
    key: String,
    /// Its WireGuard key to come
    #[serde(skip_serializing_if = "Option::is_none")]
    next_key: Option<String>,
    /// The networks behind it, as it says
    offered_routes: Vec<String>,
    /// Those that others reach through it
    routes: Vec<String>,
    /// Where it may be reached directly
    endpoints: Vec<String>,
    /// Its relays' region
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<u16>,
    /// What it runs on
    os: String,
    /// Which agent it is
    agent: String,
    /// The revision that it has put in force
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<u64>,
}

/// A page of nodes
#[derive(Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<NodeView>,
    /// Ask with this as `after` for the next page
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What is to be another; what is left out stays
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeChange {
    /// What it is called: a label of a domain name
    name: Option<String>,
    /// Let it speak to its peers
    approved: Option<bool>,
    /// Whose it is; takes its tags
    user: Option<String>,
    /// What it is for; takes its user
    tags: Option<Vec<String>>,
    /// The networks that others may reach through it, of those that it offers
    #[schema(max_items = 256)]
    approved_routes: Option<Vec<String>>,
    /// End its node key now: it has to enrol again
    expire: Option<bool>,
}

fn view(kept: &KeptNode, plan: &AddressPlan) -> NodeView {
    let KeptNode { node, seen, .. } = kept;
    let texts = |nets: &mut dyn Iterator<Item = IpNet>| nets.map(|net| net.to_string()).collect();
    let (user, tags) = match &node.owner {
        Owner::User(user) => (Some(user.clone()), Vec::new()),
        Owner::Tags(tags) => (None, tags.clone()),
    };
    NodeView {
        id: node.id.to_string(),
        addresses: node.addresses(plan).iter().map(ToString::to_string).collect(),
        user,
        tags,
        approved: node.standing == Standing::Approved,
        ephemeral: node.ephemeral,
        online: node.online,
        seen: seen.0,
        created: node.created.0,
        expires: node.expires.map(|end| end.0),
        lapsed: node.lapsed,
        key: node.key.to_base64(),
        next_key: node.next_key.map(|key| key.to_base64()),
        offered_routes: texts(&mut node.offered.iter().copied()),
        routes: texts(&mut node.routes()),
        endpoints: node.endpoints.iter().map(ToString::to_string).collect(),
        home: node.home.map(|home| home.0),
        applied: node.applied.map(|applied| applied.revision),
        name: node.name.clone(),
        os: node.os.clone(),
        agent: node.agent.clone(),
    }
}

fn node_id(text: &str) -> Result<NodeId, Problem> {
    text.parse().map_err(|_| Problem::not_found("such node"))
}

/// The nodes of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/nodes", tag = "nodes", operation_id = "nodes_list",
    params(("network" = String, Path), PageQuery),
    responses((status = 200, body = Nodes), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Nodes>, Problem> {
    let network = caller.network(&app, &network, Scope::NodesRead).await?;
    let page = Page::from(query);
    let kept = app.store().nodes(network.id, &page).await?;
    let next = next(&kept, page.limit, |kept| kept.node.id.to_string());
    let nodes = kept.iter().map(|kept| view(kept, &network.plan)).collect();
    Ok(Json(Nodes { nodes, next }))
}

/// A node
#[utoipa::path(get, path = "/api/v1/networks/{network}/nodes/{node}", tag = "nodes", operation_id = "nodes_get",
    params(("network" = String, Path), ("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    caller: Caller,
    State(app): State<App>,
    Path((network, node)): Path<(String, String)>,
) -> Result<Json<NodeView>, Problem> {
    let network = caller.network(&app, &network, Scope::NodesRead).await?;
    let kept = app.store().node(network.id, node_id(&node)?).await?;
    Ok(Json(view(&kept, &network.plan)))
}

/// Approve a node, rename it, give it tags, approve its routes, end its node key
#[utoipa::path(patch, path = "/api/v1/networks/{network}/nodes/{node}", tag = "nodes", operation_id = "nodes_change",
    params(("network" = String, Path), ("node" = String, Path)), request_body = NodeChange,
    responses((status = 200, body = NodeView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn change(
    caller: Caller,
    State(app): State<App>,
    Path((network, node)): Path<(String, String)>,
    Body(change): Body<NodeChange>,
) -> Result<Json<NodeView>, Problem> {
    let network = caller.network(&app, &network, Scope::NodesWrite).await?;
    let id = node_id(&node)?;
    let mut write = app.store().write(network.id, now()).await?;
    let before = write.node(id).await?;
    let mut node = before.clone();
    apply(&mut node, change, write.now().0)?;
    let new = |route: &&IpNet| !before.approved.contains(route);
    let new: Vec<IpNet> = node.approved.iter().filter(new).copied().collect();
    if !new.is_empty() {
        routes::approve(&node, &new, write.nodes().await?)
            .map_err(|taken| Problem::refused(taken.to_string(), Vec::new()))?;
    }
    if node != before {
        write.put_node(&node).await?;
        let detail = json!({
            "name": node.name,
            "owner": node.owner,
            "standing": node.standing,
            "routes": node.approved,
            "expires": node.expires,
        });
        write.audit(caller.act("node.change", id, detail)).await?;
        write.commit().await?;
    }
    let kept = app.store().node(network.id, id).await?;
    Ok(Json(view(&kept, &network.plan)))
}

fn apply(node: &mut Node, change: NodeChange, now: u64) -> Result<(), Problem> {
    let refused = |reason: String| Problem::refused(reason, Vec::new());
    if let Some(name) = change.name {
        if !label::is_label(&name) {
            return Err(refused("`name` must be a label of a domain name".to_owned()));
        }
        node.name = name;
    }
    match change.approved {
        Some(true) => node.standing = Standing::Approved,
        Some(false) => node.standing = Standing::Pending,
        None => {}
    }
    node.owner = match (change.user, change.tags) {
        (None, None) => node.owner.clone(),
        (user, tags) => owner(user, tags)?,
    };
    if let Some(routes) = change.approved_routes {
        let parse = |route: &String| route.parse::<IpNet>().map(|net| net.trunc());
        let routes: Result<Vec<IpNet>, _> = routes.iter().map(parse).collect();
        let routes = routes.map_err(|error| refused(format!("`approved_routes`: {error}")))?;
        if let Some(route) = routes.iter().find(|route| !node.offered.contains(route)) {
            return Err(refused(format!("the node does not offer {route}: it has to first")));
        }
        node.approved = routes;
    }
    if change.expire == Some(true) {
        node.expires = Some(proto::ticket::UnixSeconds(now));
        node.lapsed = true;
    }
    Ok(())
}

/// A user or tags, as the policy can name them.
pub(super) fn owner(user: Option<String>, tags: Option<Vec<String>>) -> Result<Owner, Problem> {
    let refused = |reason: &str| Problem::refused(reason, Vec::new());
    let owner = match (user, tags) {
        (Some(user), None) => Owner::User(user),
        (None, Some(tags)) if !tags.is_empty() => Owner::Tags(tags),
        _ => return Err(refused("give `user` or `tags`: a node with tags is nobody's")),
    };
    let reason = "`user` is written name@domain, and a tag tag:name";
    owner.identity().is_some().then_some(owner).ok_or_else(|| refused(reason))
}

/// Revoke a node: it is deleted, and its peers let go of it at once
#[utoipa::path(delete, path = "/api/v1/networks/{network}/nodes/{node}", tag = "nodes", operation_id = "nodes_delete",
    params(("network" = String, Path), ("node" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    caller: Caller,
    State(app): State<App>,
    Path((network, node)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let network = caller.network(&app, &network, Scope::NodesWrite).await?;
    let mut write = app.store().write(network.id, now()).await?;
    let node = write.node(node_id(&node)?).await?;
    write.delete_node(&node).await?;
    let detail = json!({ "name": node.name, "key": node.key });
    write.audit(caller.act("node.revoke", node.id, detail)).await?;
    write.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
