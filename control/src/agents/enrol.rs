//! A node comes into a network.

use axum::Json;
use axum::extract::State;
use proto::control::{EnrolRequest, EnrolResponse, NodeId, Standing, common_version};
use proto::ticket::UnixSeconds;
use serde_json::json;

use crate::app::App;
use crate::body::Raw;
use crate::clock::now;
use crate::core::audit::Act;
use crate::core::bearer::{BearerId, Kind};
use crate::core::enrolment::{EnrolmentKey, KeyRefusal};
use crate::core::node::{NODE_KEY_LASTS, Node, not_zero, right_routes};
use crate::peer::Guesser;
use crate::problem::Problem;
use crate::store::{Write, random};

pub(super) async fn enrol(
    State(app): State<App>,
    Guesser(source): Guesser,
    Raw(body): Raw,
) -> Result<Json<EnrolResponse>, Problem> {
    let request = EnrolRequest::parse(&body)?;
    let version = common_version(&request.versions).ok_or_else(no_version)?;
    if !request.is_proven() {
        return Err(Problem::bad("`proof` is not a signature by `node_key`"));
    }
    not_zero("wireguard_key", &request.wireguard_key).map_err(|e| Problem::bad(e.to_string()))?;
    let presented = Kind::EnrolmentKey.read(request.auth_key.as_str());
    let found = match &presented {
        Some(presented) => app.store().find_key(presented).await?,
        None => None,
    };
    let Some(found) = found else {
        app.failed(source);
        return Err(Problem::unauthorized());
    };
    let mut write = app.store().write(found.network, now()).await?;
    // As it is now that nobody else can use it.
    let key = write.key(found.id).await?;
    let known = write.node_by_key(&request.node_key).await?;
    match (key.admits(write.now()), &known) {
        // A node that is in already may come again by the key that let it in.
        (Ok(()), _) | (Err(KeyRefusal::Used), Some(_)) => {}
        (Err(refusal), _) => {
            drop(write);
            tracing::info!(key = %found.id, %refusal, "a node was turned away");
            app.failed(source);
            return Err(Problem::unauthorized());
        }
    }
    let node = match known {
        Some(node) => return_node(&mut write, node, &request).await?,
        None => add_node(&mut write, found.id, key, &request).await?,
    };
    let network = write.network().as_network();
    let addresses = node.addresses(&write.network().plan);
    write.commit().await?;
    app.metrics().enrolled.inc();
    app.is_ours(source, 1);
    Ok(Json(EnrolResponse {
        version,
        node: node.id,
        network,
        name: node.name,
        addresses,
        approved: node.standing == Standing::Approved,
        expires: node.expires,
    }))
}

pub(super) fn no_version() -> Problem {
    let ours = proto::control::VERSIONS;
    Problem::bad(format!(
        "this server speaks the versions {ours:?} of the protocol, and none of yours"
    ))
}

/// The node is itself still: the same id, name and addresses.
async fn return_node(
    write: &mut Write,
    mut node: Node,
    request: &EnrolRequest,
) -> Result<Node, Problem> {
    let now = write.now();
    if node.key != request.wireguard_key {
        (node.key, node.key_since, node.next_key) = (request.wireguard_key, now, None);
    }
    (node.os, node.agent) = (request.os.clone(), request.agent.clone());
    (node.expires, node.lapsed) = (Some(ends(now)), false);
    write.put_node(&node).await?;
    let detail = json!({ "key": node.key });
    write
        .audit(Act {
            actor: actor(node.id),
            action: "node.return",
            subject: node.id.to_string(),
            detail,
        })
        .await?;
    Ok(node)
}

async fn add_node(
    write: &mut Write,
    key_id: BearerId,
    mut key: EnrolmentKey,
    request: &EnrolRequest,
) -> Result<Node, Problem> {
    let now = write.now();
    let offered = right_routes(&request.routes, &write.network().plan)
        .map_err(|error| Problem::refused(error.to_string(), Vec::new()))?;
    let node = Node {
        id: NodeId(random()?),
        name: write.free_name(&request.hostname).await?,
        host: write.take_host().await?,
        owner: key.owner.clone(),
        standing: key.standing(),
        ephemeral: key.ephemeral,
        node_key: request.node_key,
        last_node_key: None,
        key: request.wireguard_key,
        key_since: now,
        next_key: None,
        offered,
        approved: Vec::new(),
        endpoints: Vec::new(),
        disco: None,
        relay: None,
        home: None,
        online: false,
        os: request.os.clone(),
        agent: request.agent.clone(),
        created: now,
        expires: Some(ends(now)),
        lapsed: false,
        applied: None,
    };
    write.add_node(&node).await?;
    key.uses += 1;
    write.put_key(key_id, &key).await?;
    let detail = json!({
        "name": node.name,
        "addresses": node.addresses(&write.network().plan),
        "key": node.key,
        "approved": key.approved,
    });
    let actor = format!("key:{key_id}");
    write.audit(Act { actor, action: "node.enrol", subject: node.id.to_string(), detail }).await?;
    Ok(node)
}

fn ends(now: UnixSeconds) -> UnixSeconds {
    UnixSeconds(now.0.saturating_add(NODE_KEY_LASTS))
}

fn actor(id: NodeId) -> String {
    format!("node:{id}")
}
