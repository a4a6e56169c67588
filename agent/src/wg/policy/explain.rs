//! What the policy in force decides on a flow, by the tables that are in the kernel.

use std::net::IpAddr;

use anyhow::Context as _;
use dataplane::{DropReason, FlowKey, Opener, Traffic};
use policy::{Packet, Query};
use serde::{Deserialize, Serialize};

use super::Policy;
use crate::wg::flows::{self, Record};

/// Flows that an explanation shows at most.
const FLOWS_LIMIT: usize = 16;

/// Who would open a flow to where, as `policy::Query` reads it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) source: String,
    pub(crate) destination: String,
}

/// What is decided on one flow, and by what.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) source: IpAddr,
    /// What the node with this address is called, if one is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) source_name: Option<String>,
    pub(crate) destination: IpAddr,
    /// The same of the destination.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) destination_name: Option<String>,
    pub(crate) protocol: String,
    pub(crate) port: u16,
    /// Whether it may be opened.
    pub(crate) accepted: bool,
    /// Why not, as it is counted.
    pub(crate) reason: Option<String>,
    /// The rule that decides, if one does.
    pub(crate) rule: Option<DecidingRule>,
    /// Which set of rules the source may match; zero is none.
    pub(crate) identity: u32,
    /// Which set of destinations it goes to; zero is none.
    pub(crate) class: u32,
    /// The policy in force.
    pub(crate) generation: u32,
    /// Some of the flows that are open from there to here.
    pub(crate) flows: Vec<Record>,
}

/// A rule, and what it has decided on since the policy came into force.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DecidingRule {
    pub(crate) index: u32,
    /// The line of the document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) line: Option<u32>,
    /// The number in the network's policy, of which an older control plane tells no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) network_rule: Option<u32>,
    pub(crate) text: String,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Policy {
    /// Asks the kernel's tables.
    pub(crate) fn explain(&self, question: &Question) -> anyhow::Result<Vec<Explanation>> {
        let query = Query::parse(&question.source, &question.destination)?;
        let packets = self.meaning.packets(&query)?;
        let programs = self.enforced.programs();
        let open = programs.flows();
        let open: Vec<Record> =
            open.iter().map(|(key, flow)| flows::flow_record_now(key, flow, self)).collect();
        packets.iter().map(|packet| self.explain_packet(packet, &open)).collect()
    }

    fn explain_packet(&self, packet: &Packet, open: &[Record]) -> anyhow::Result<Explanation> {
        let programs = self.enforced.programs();
        let (host, peer) = (packet.destination.into(), packet.source.into());
        let key = FlowKey::new(packet.protocol, (host, packet.port), (peer, 0));
        let found =
            programs.lookup(&key, Opener::Peer).context("cannot look into the policy's tables")?;
        let ruling = found.answer.ruling;
        let accepted = ruling.is_some_and(|ruling| ruling.allows());
        let reason = match ruling {
            Some(_) if accepted => None,
            Some(_) => Some(DropReason::PolicyDenied.label().to_owned()),
            None => Some(DropReason::PolicyNoRule.label().to_owned()),
        };
        let rule = ruling.and_then(|ruling| {
            let index = ruling.rule().0;
            let rule = self.rules.get(index as usize)?;
            let Traffic { packets, bytes } = found.counted.unwrap_or_default();
            let (line, network_rule) = (rule.place.line(), rule.place.network());
            let text = rule.text.clone();
            Some(DecidingRule { index, line, network_rule, text, packets, bytes })
        });
        let flows = open
            .iter()
            .filter(|record| {
                (record.source, record.destination) == (packet.source, packet.destination)
                    && record.protocol == policy::protocol::name(packet.protocol)
                    && (!policy::has_ports(packet.protocol)
                        || record.destination_port == packet.port)
            })
            .take(FLOWS_LIMIT)
            .cloned()
            .collect();
        Ok(Explanation {
            source: packet.source,
            source_name: self.meaning.name_of(packet.source).map(str::to_owned),
            destination: packet.destination,
            destination_name: self.meaning.name_of(packet.destination).map(str::to_owned),
            protocol: policy::protocol::name(packet.protocol),
            port: packet.port,
            accepted,
            reason,
            rule,
            identity: found.answer.identity.0,
            class: found.answer.class.0,
            generation: found.generation.0,
            flows,
        })
    }
}
