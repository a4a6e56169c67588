//! The counters of a policy in force, as they are reported.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use dataplane::{AttachKind, Traffic};
use policy::Action;
use serde::{Deserialize, Serialize};

use super::Policy;
use super::source::RuleText;

/// The counters of a policy in force.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PolicyStatus {
    /// The interface it stands on.
    pub(crate) interface: String,
    /// How the programs are attached: `tcx` or `clsact`.
    pub(crate) attached: String,
    /// Where they are pinned, if they are: then the policy outlives a daemon that is killed.
    pub(crate) pinned: Option<PathBuf>,
    /// The node whose rules are enforced; all rules are, if none is named.
    pub(crate) node: Option<String>,
    /// Counts the policies that were in force since the programs were attached.
    pub(crate) generation: u32,
    /// The rules, in the order of the document.
    pub(crate) rules: Vec<RuleStatus>,
    /// Packets that passed because their flow was known.
    pub(crate) flow_hits: u64,
    /// Packets that were dropped, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
}

/// The counters of one rule.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleStatus {
    /// Where it stands in the document, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) line: Option<u32>,
    /// Its number in the network's policy, of which an older control plane tells no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) network_rule: Option<u32>,
    /// What it says.
    pub(crate) rule: String,
    /// What it decides: `accept` or `deny`.
    pub(crate) action: String,
    /// Packets that it decided on.
    pub(crate) packets: u64,
    /// The bytes of these packets.
    pub(crate) bytes: u64,
}

impl Policy {
    /// The counters of now.
    pub(crate) fn status(&self) -> anyhow::Result<PolicyStatus> {
        let counters =
            self.enforced.programs().counters().context("cannot read the policy's counters")?;
        let rules = self.rules.iter().zip(&counters.rules);
        Ok(PolicyStatus {
            interface: self.interface.clone(),
            attached: match self.enforced.attach_kind() {
                AttachKind::Tcx => "tcx".into(),
                AttachKind::Clsact => "clsact".into(),
            },
            pinned: self.pinned.clone(),
            node: self.meaning.node().map(str::to_owned),
            generation: counters.generation.0,
            rules: rules.map(|(rule, counted)| RuleStatus::new(rule, *counted)).collect(),
            flow_hits: counters.flow_hits,
            drops: counters
                .drops
                .iter()
                .map(|&(reason, packets)| (reason.label().to_owned(), packets))
                .collect(),
        })
    }
}

impl RuleStatus {
    fn new(rule: &RuleText, counted: Traffic) -> Self {
        let action = match rule.action {
            Action::Accept => "accept",
            Action::Deny => "deny",
        };
        Self {
            line: rule.place.line(),
            network_rule: rule.place.network(),
            rule: rule.text.clone(),
            action: action.into(),
            packets: counted.packets,
            bytes: counted.bytes,
        }
    }
}
