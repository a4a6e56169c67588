//! What a node tells the control plane.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    MAX_ENDPOINTS, MAX_FLOWS, MAX_REQUEST, MAX_ROUTES, Malformed, RegionId, RelayOffer, at_most,
    plain,
};
use crate::key::PublicKey;
use crate::ticket::UnixSeconds;

/// What is new at a node; what is left out stays as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where it may be reached directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<SocketAddr>>,
    /// What probes to it are sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disco: Option<PublicKey>,
    /// The region whose relays it keeps a connection to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionId>,
    /// The networks behind it that it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<IpNet>>,
    /// What it offers to be as a relay of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayOffer>,
    /// A key that peers should be ready for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// The key that it uses from now on: the one that it named as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// What it has put in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What became of flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowRecord>,
}

/// What a node has put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The state of the network whose peers and filter it uses.
    pub revision: u64,
    /// The generation of the policy in its kernel.
    #[serde(default)]
    pub generation: u64,
}

/// A flow, at one of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// When.
    pub at: UnixSeconds,
    /// What happened.
    pub event: FlowEvent,
    /// The protocol's number.
    pub protocol: u8,
    /// Who opened it.
    pub source: IpAddr,
    /// Its port, if the protocol has ports.
    #[serde(default)]
    pub source_port: u16,
    /// Whom it was opened to.
    pub destination: IpAddr,
    /// Its port, if the protocol has ports.
    #[serde(default)]
    pub destination_port: u16,
    /// Packets of both directions.
    #[serde(default)]
    pub packets: u64,
    /// Bytes of both directions.
    #[serde(default)]
    pub bytes: u64,
    /// Why it was denied or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowEvent {
    /// It was opened.
    Start,
    /// It ended.
    End,
    /// The policy did not let it be opened.
    Denied,
}

impl Report {
    /// Reads a report; what is too long is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        at_most("body", bytes.len(), MAX_REQUEST)?;
        let report: Self = serde_json::from_slice(bytes)?;
        at_most("endpoints", report.endpoints.as_ref().map_or(0, Vec::len), MAX_ENDPOINTS)?;
        at_most("routes", report.routes.as_ref().map_or(0, Vec::len), MAX_ROUTES)?;
        report.relay.as_ref().map_or(Ok(()), RelayOffer::check)?;
        at_most("flows", report.flows.len(), MAX_FLOWS)?;
        for reason in report.flows.iter().filter_map(|flow| flow.reason.as_deref()) {
            plain("reason", reason)?;
        }
        Ok(report)
    }
}
