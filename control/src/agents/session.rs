//! A node shows that it is itself, and takes another node key in time.

use axum::Json;
use axum::extract::State;
use proto::control::{
    ChallengeRequest, ChallengeResponse, RenewRequest, RenewResponse, SessionRequest,
    SessionResponse, common_version,
};
use proto::ticket::UnixSeconds;
use serde_json::json;

use super::bearer::Bearer;
use super::enrol::no_version;
use crate::app::App;
use crate::body::Raw;
use crate::clock::now;
use crate::core::audit::Act;
use crate::core::node::NODE_KEY_LASTS;
use crate::core::session::SESSION_LASTS;
use crate::peer::Stranger;
use crate::problem::Problem;
use crate::store::{StoreError, random};

/// It costs a hash, and tells nobody whether there is such a node.
pub(super) async fn challenge(
    State(app): State<App>,
    Stranger(_): Stranger,
    Raw(body): Raw,
) -> Result<Json<ChallengeResponse>, Problem> {
    let request = ChallengeRequest::parse(&body)?;
    let challenge = app.session().challenge(request.node, now(), random()?);
    Ok(Json(ChallengeResponse { challenge }))
}

pub(super) async fn session(
    State(app): State<App>,
    Stranger(source): Stranger,
    Raw(body): Raw,
) -> Result<Json<SessionResponse>, Problem> {
    let request = SessionRequest::parse(&body)?;
    let version = common_version(&request.versions).ok_or_else(no_version)?;
    let refused = || {
        // A signature is not guessed: who fails here is only slowed down.
        app.metrics().refused.inc();
        Problem::unauthorized()
    };
    if !app.session().is_challenge(&request.challenge, request.node, now()) {
        return Err(refused());
    }
    let kept = match app.store().find_node(request.node).await {
        Ok(kept) => kept,
        Err(StoreError::Missing(_)) => return Err(refused()),
        Err(error) => return Err(error.into()),
    };
    if !request.is_by(&kept.node.node_key) || kept.node.is_expired(now()) {
        return Err(refused());
    }
    // This, and the challenge before.
    app.is_ours(source, 2);
    let token = app.session().session(kept.network, request.node, now());
    Ok(Json(SessionResponse { version, token, lasts: SESSION_LASTS }))
}

pub(super) async fn renew(
    bearer: Bearer,
    State(app): State<App>,
    Raw(body): Raw,
) -> Result<Json<RenewResponse>, Problem> {
    let request = RenewRequest::parse(&body)?;
    let mut write = app.store().write(bearer.session.network, now()).await?;
    let mut node = write.node(bearer.session.node).await?;
    if !request.is_by(node.id, &node.node_key) {
        return Err(Problem::bad("the renewal is not signed by the old key and the new one"));
    }
    node.last_node_key = Some(std::mem::replace(&mut node.node_key, request.node_key));
    node.expires = Some(UnixSeconds(write.now().0.saturating_add(NODE_KEY_LASTS)));
    node.lapsed = false;
    write.put_node(&node).await?;
    write
        .audit(Act {
            actor: format!("node:{}", node.id),
            action: "node.renew",
            subject: node.id.to_string(),
            detail: json!({ "node_key": node.node_key, "expires": node.expires }),
        })
        .await?;
    write.commit().await?;
    Ok(Json(RenewResponse { expires: node.expires }))
}
