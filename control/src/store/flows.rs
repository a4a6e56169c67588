//! What became of flows, as nodes tell it: the last ones of each network.

use std::net::IpAddr;

use proto::control::{FlowEvent, FlowRecord, NodeId};
use proto::ticket::NetworkId;
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Result, Store, Write, broken, json, number, signed, text, written};

/// The most flows that are kept of a network.
const KEPT: u64 = 100_000;

/// A flow, and the node that told of it.
#[derive(Clone, Debug, Serialize)]
pub struct KeptFlow {
    /// Its number in the network.
    pub number: u64,
    /// Who told.
    pub node: NodeId,
    /// What.
    pub flow: FlowRecord,
}

/// Which flows are wanted: newest first, before a number.
#[derive(Clone, Debug, Default)]
pub struct FlowQuery {
    /// The number before which; the last one if zero.
    pub before: u64,
    /// The most.
    pub limit: u32,
    /// Of this node.
    pub node: Option<NodeId>,
    /// With this address at one of the ends.
    pub address: Option<IpAddr>,
    /// With this event.
    pub event: Option<FlowEvent>,
    /// At or after this moment, in seconds since 1970.
    pub since: u64,
}

const fn name(event: FlowEvent) -> &'static str {
    match event {
        FlowEvent::Start => "start",
        FlowEvent::End => "end",
        FlowEvent::Denied => "denied",
    }
}

impl Write {
    /// Keeps flows, and forgets as many old ones as there are too many.
    pub async fn add_flows(&mut self, node: NodeId, flows: &[FlowRecord]) -> Result<()> {
        let network = self.network.id.to_string();
        let count = signed(flows.len() as u64);
        let row = sqlx::query(
            "UPDATE networks SET next_flow = next_flow + $2 WHERE id = $1 RETURNING next_flow",
        )
        .bind(&network)
        .bind(count)
        .fetch_one(&mut *self.tx)
        .await?;
        let end = number(&row, 0)?;
        let first = end.saturating_sub(flows.len() as u64);
        for (number, flow) in (first..).zip(flows) {
            sqlx::query(
                "INSERT INTO flows (network, number, node, at, source, destination, event, record) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(&network)
            .bind(signed(number))
            .bind(node.to_string())
            .bind(signed(flow.at.0))
            .bind(flow.source.to_string())
            .bind(flow.destination.to_string())
            .bind(name(flow.event))
            .bind(written(flow, "a flow")?)
            .execute(&mut *self.tx)
            .await?;
        }
        sqlx::query("DELETE FROM flows WHERE network = $1 AND number < $2")
            .bind(&network)
            .bind(signed(end.saturating_sub(KEPT)))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

impl Store {
    /// The flows of a network that fit.
    pub async fn flows(&self, network: NetworkId, query: &FlowQuery) -> Result<Vec<KeptFlow>> {
        let before = if query.before == 0 { i64::MAX } else { signed(query.before) };
        let rows = sqlx::query(
            "SELECT number, node, record FROM flows WHERE network = $1 AND number < $2 \
             AND ($3 = '' OR node = $3) AND ($4 = '' OR source = $4 OR destination = $4) \
             AND ($5 = '' OR event = $5) AND at >= $6 ORDER BY number DESC LIMIT $7",
        )
        .bind(network.to_string())
        .bind(before)
        .bind(query.node.map(|node| node.to_string()).unwrap_or_default())
        .bind(query.address.map(|address| address.to_string()).unwrap_or_default())
        .bind(query.event.map(name).unwrap_or_default())
        .bind(signed(query.since))
        .bind(i64::from(query.limit.clamp(1, super::MAX_PAGE)))
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &AnyRow| {
            let node = text(row, 1)?.parse().map_err(|error| broken("a node's id", error))?;
            Ok(KeptFlow { number: number(row, 0)?, node, flow: json(row, 2, "a flow")? })
        };
        rows.iter().map(read).collect()
    }
}
