//! What a node tells of itself.

use axum::extract::State;
use axum::http::StatusCode;
use proto::control::Report;
use serde_json::json;

use super::bearer::Bearer;
use crate::app::App;
use crate::body::Raw;
use crate::clock::now;
use crate::core::audit::Act;
use crate::problem::Problem;

pub(super) async fn report(
    bearer: Bearer,
    State(app): State<App>,
    Raw(body): Raw,
) -> Result<StatusCode, Problem> {
    let report = Report::parse(&body)?;
    let mut write = app.store().write(bearer.session.network, now()).await?;
    let mut node = write.node(bearer.session.node).await?;
    let before = node.key;
    let (plan, at) = (write.network().plan, write.now());
    let changed = node
        .take(&report, &plan, at)
        .map_err(|error| Problem::refused(error.to_string(), Vec::new()))?;
    if changed {
        write.put_node(&node).await?;
    }
    if node.key != before {
        let detail = json!({ "key": node.key });
        let actor = format!("node:{}", node.id);
        let subject = node.id.to_string();
        write.audit(Act { actor, action: "node.rotate", subject, detail }).await?;
    }
    if !report.flows.is_empty() {
        write.add_flows(node.id, &report.flows).await?;
    }
    if changed || !report.flows.is_empty() {
        write.commit().await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The node goes for good.
pub(super) async fn leave(bearer: Bearer, State(app): State<App>) -> Result<StatusCode, Problem> {
    let mut write = app.store().write(bearer.session.network, now()).await?;
    let node = write.node(bearer.session.node).await?;
    write.delete_node(&node).await?;
    let (actor, subject) = (format!("node:{}", node.id), node.id.to_string());
    write.audit(Act { actor, action: "node.leave", subject, detail: json!({}) }).await?;
    write.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
