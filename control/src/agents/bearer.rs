//! Who a node is, by the bearer token of its session.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::App;
use crate::clock::now;
use crate::core::node::Node;
use crate::core::session::Session;
use crate::peer::PeerAddress;
use crate::problem::Problem;

/// A node with a session, which is in its network and whose node key has not ended.
pub(super) struct Bearer {
    pub(super) session: Session,
    pub(super) node: Node,
}

impl FromRequestParts<App> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PeerAddress(source) = PeerAddress::from_request_parts(parts, app).await?;
        let token = bearer_text(parts).ok_or_else(Problem::unauthorized)?;
        // Nodes that others at their address have nothing to do with are heard whatever those try.
        let Some(session) = app.session().find(token, now()) else {
            app.admit(source)?;
            // Sessions end, so one that has is no attack; what was never one is.
            if app.session().find(token, proto::ticket::UnixSeconds(0)).is_none() {
                app.failed(source);
            }
            return Err(Problem::unauthorized());
        };
        app.admit_node(session.node)?;
        let node = match app.hub().node(session.network, session.node).await {
            Ok(node) => node,
            Err(crate::store::StoreError::Missing(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let node = node.ok_or_else(Problem::unauthorized)?;
        Ok(Self { session, node })
    }
}

/// What stands behind `Authorization: Bearer`.
pub(crate) fn bearer_text(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(axum::http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
