//! `/networks/{network}/policy`: who may reach whom, in versions.

mod view;

use axum::Json;
use axum::extract::State;
use policy::naming::Names;
use policy::{Nodes, Plan, difference};
use serde_json::json;

use super::caller::Caller;
use super::next;
use crate::app::App;
use crate::body::{Body, Path, Query};
use crate::clock::now;
use crate::core::policy_text;
use crate::core::scope::Scope;
use crate::problem::Problem;
use crate::store::{KeptNetwork, PolicyVersion};
use view::{
    Accepted, ChangeView, DiffQuery, Differences, NewPolicy, PolicyView, RollBack, TriedPolicy,
    Versions, VersionsQuery,
};

/// To compare may take a while, during which others want to be served.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?
}

fn accept(text: &str, nodes: &Nodes) -> Result<policy::Document, Problem> {
    policy_text::accept(text, nodes)
        .map_err(|refusal| Problem::refused(refusal.to_string(), refusal.details(text)))
}

fn changes(old: &str, new: &policy::Document, nodes: &Nodes) -> Result<Differences, Problem> {
    let unread = |reason: String| Problem::refused(reason, Vec::new());
    let old = policy::Document::parse(old)
        .map_err(|_| unread("the version to compare with is not readable any more".to_owned()))?;
    let names = Names::new([&old, new], nodes);
    let [old, new] = [&old, new].map(|document| Plan::new(document.clone(), nodes));
    let flows = difference(&old.everything(), &new.everything())
        .map_err(|error| unread(error.to_string()))?;
    Ok(Differences {
        changes: flows.iter().map(|change| ChangeView::new(change, &names)).collect(),
        relaying: old.relay_changes(&new).into_iter().map(Into::into).collect(),
        paths: old.path_changes(&new).into_iter().map(Into::into).collect(),
    })
}

/// The policy in force
#[utoipa::path(get, path = "/api/v1/networks/{network}/policy", tag = "policy", operation_id = "policy_get",
    params(("network" = String, Path)),
    responses((status = 200, body = PolicyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
) -> Result<Json<PolicyView>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyRead).await?;
    Ok(Json(app.store().policy(network.id, Some(network.policy)).await?.into()))
}

/// Put a policy in force, if it has no errors and its own tests hold
#[utoipa::path(put, path = "/api/v1/networks/{network}/policy", tag = "policy", operation_id = "policy_put",
    params(("network" = String, Path)), request_body = NewPolicy,
    responses((status = 200, body = PolicyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(new): Body<NewPolicy>,
) -> Result<Json<PolicyView>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyWrite).await?;
    enforce(&caller, &app, &network, new).await.map(Json)
}

async fn enforce(
    caller: &Caller,
    app: &App,
    network: &KeptNetwork,
    new: NewPolicy,
) -> Result<PolicyView, Problem> {
    if new.comment.len() > 255 {
        return Err(Problem::refused("`comment` is longer than 255 bytes", Vec::new()));
    }
    let nodes = app.hub().policy_nodes(network.id).await?;
    let text = new.text.clone();
    aside(move || accept(&text, &nodes).map(drop)).await?;
    let mut write = app.store().write(network.id, now()).await?;
    let in_force = write.network().policy;
    if let Some(expected) = new.replaces.filter(|expected| *expected != in_force) {
        let reason = format!("version {in_force} is in force, not {expected}: look at it first");
        return Err(Problem::conflict(reason));
    }
    let version = write.put_policy(&new.text, &caller.actor(), &new.comment).await?;
    let detail = json!({ "version": version, "comment": new.comment });
    write.audit(caller.act("policy.put", network.id, detail)).await?;
    write.commit().await?;
    Ok(app.store().policy(network.id, Some(version)).await?.into())
}

/// Look at a policy: what is wrong with it, or what it would change
#[utoipa::path(post, path = "/api/v1/networks/{network}/policy/check", tag = "policy", operation_id = "policy_check",
    params(("network" = String, Path)), request_body = TriedPolicy,
    responses((status = 200, body = Accepted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn check(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(tried): Body<TriedPolicy>,
) -> Result<Json<Accepted>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyRead).await?;
    let nodes = app.hub().policy_nodes(network.id).await?;
    let old = app.store().policy(network.id, Some(network.policy)).await?.text;
    aside(move || {
        let document = accept(&tried.text, &nodes)?;
        Ok(Json(Accepted {
            rules: document.rules().len(),
            tests: document.tests().iter().map(|test| test.expectations.len()).sum(),
            changes: changes(&old, &document, &nodes)?,
        }))
    })
    .await
}

/// The versions of the policy
#[utoipa::path(get, path = "/api/v1/networks/{network}/policy/versions", tag = "policy", operation_id = "policy_versions",
    params(("network" = String, Path), VersionsQuery),
    responses((status = 200, body = Versions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn versions(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<VersionsQuery>,
) -> Result<Json<Versions>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyRead).await?;
    let before = if query.before == 0 { u64::MAX } else { query.before };
    let kept = app.store().policy_versions(network.id, before, query.limit).await?;
    let next = next(&kept, query.limit, |kept| kept.version);
    Ok(Json(Versions { versions: kept.into_iter().map(Into::into).collect(), next }))
}

/// A version of the policy
#[utoipa::path(get, path = "/api/v1/networks/{network}/policy/versions/{version}", tag = "policy", operation_id = "policy_version",
    params(("network" = String, Path), ("version" = u64, Path, minimum = 1)),
    responses((status = 200, body = PolicyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn version(
    caller: Caller,
    State(app): State<App>,
    Path((network, version)): Path<(String, u64)>,
) -> Result<Json<PolicyView>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyRead).await?;
    Ok(Json(of_version(&app, &network, version).await?.into()))
}

async fn of_version(
    app: &App,
    network: &KeptNetwork,
    version: u64,
) -> Result<PolicyVersion, Problem> {
    if version == 0 {
        return Err(Problem::not_found("such version of the policy"));
    }
    Ok(app.store().policy(network.id, Some(version)).await?)
}

/// What one version allows and another does not, between the nodes of today
#[utoipa::path(get, path = "/api/v1/networks/{network}/policy/diff", tag = "policy", operation_id = "policy_diff",
    params(("network" = String, Path), DiffQuery),
    responses((status = 200, body = Differences), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn diff(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Differences>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyRead).await?;
    let old = of_version(&app, &network, query.from).await?.text;
    let new = of_version(&app, &network, query.to).await?.text;
    let nodes = app.hub().policy_nodes(network.id).await?;
    aside(move || {
        let unread = |_| Problem::refused("the new version is not readable any more", Vec::new());
        let new = policy::Document::parse(&new).map_err(unread)?;
        Ok(Json(changes(&old, &new, &nodes)?))
    })
    .await
}

/// Put an earlier version in force again, as a new one
#[utoipa::path(post, path = "/api/v1/networks/{network}/policy/rollback", tag = "policy", operation_id = "policy_roll_back",
    params(("network" = String, Path)), request_body = RollBack,
    responses((status = 200, body = PolicyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn roll_back(
    caller: Caller,
    State(app): State<App>,
    Path(network): Path<String>,
    Body(to): Body<RollBack>,
) -> Result<Json<PolicyView>, Problem> {
    let network = caller.network(&app, &network, Scope::PolicyWrite).await?;
    let text = of_version(&app, &network, to.version).await?.text;
    let comment = format!("back to version {}", to.version);
    enforce(&caller, &app, &network, NewPolicy { text, comment, replaces: None }).await.map(Json)
}
