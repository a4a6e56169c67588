//! The policy of an interface: the document that is in force and the programs that enforce it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use dataplane::{AttachKind, Pins, RuleCounter, TunnelPolicy};
use policy::{Compiled, Document};
use serde::{Deserialize, Serialize};

/// A policy in force.
pub(super) struct Policy {
    interface: String,
    enforced: TunnelPolicy,
    pinned: Option<PathBuf>,
    document: Document,
    text: String,
}

/// The counters of a policy in force, as they are reported.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PolicyStatus {
    /// The interface it stands on.
    pub(crate) interface: String,
    /// How the programs are attached: `tcx` or `clsact`.
    pub(crate) attached: String,
    /// Where they are pinned, if they are: then the policy outlives a daemon that is killed.
    pub(crate) pinned: Option<PathBuf>,
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
    pub(crate) line: u32,
    /// What it says.
    pub(crate) rule: String,
    /// Packets that it allowed.
    pub(crate) packets: u64,
    /// The bytes of these packets.
    pub(crate) bytes: u64,
}

impl Policy {
    /// Puts the document on an interface that carries nothing yet, or that has a policy pinned.
    pub(super) fn attach(
        interface: &str,
        (text, document): (String, Document),
        pins: Option<&Pins>,
    ) -> anyhow::Result<Self> {
        let compiled = compile(&document)?;
        let enforced = TunnelPolicy::attach(interface, &compiled, pins)
            .with_context(|| format!("cannot enforce the policy on {interface}"))?;
        let pinned = pins.map(|pins| pins.directory().to_owned());
        Ok(Self { interface: interface.to_owned(), enforced, pinned, document, text })
    }

    /// Replaces the document; on an error the one in force stays. Gives the new generation.
    pub(super) fn apply(&mut self, name: &str, text: &str) -> anyhow::Result<u32> {
        let document = parse(name, text)?;
        let compiled = compile(&document)?;
        let generation = self
            .enforced
            .apply(&compiled)
            .with_context(|| format!("the policy of {} stays as it was", self.interface))?;
        self.document = document;
        self.text = text.to_owned();
        Ok(generation.0)
    }

    /// The counters of now.
    pub(super) fn status(&self) -> anyhow::Result<PolicyStatus> {
        let counters = self.enforced.counters().context("cannot read the policy's counters")?;
        let rules = self.document.rules().iter().zip(&counters.rules);
        Ok(PolicyStatus {
            interface: self.interface.clone(),
            attached: match self.enforced.attach_kind() {
                AttachKind::Tcx => "tcx".into(),
                AttachKind::Clsact => "clsact".into(),
            },
            pinned: self.pinned.clone(),
            generation: counters.generation.0,
            rules: rules.map(|(rule, counted)| self.rule_status(rule.line, counted)).collect(),
            flow_hits: counters.flow_hits,
            drops: counters
                .drops
                .iter()
                .map(|&(reason, packets)| (reason.label().to_owned(), packets))
                .collect(),
        })
    }

    fn rule_status(&self, line: u32, counted: &RuleCounter) -> RuleStatus {
        let text = self.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
        RuleStatus {
            line,
            rule: text.trim().trim_end_matches(',').to_owned(),
            packets: counted.packets,
            bytes: counted.bytes,
        }
    }
}

/// Reads a document from a file; an error shows every place that is wrong.
pub(crate) fn read(path: &Path) -> anyhow::Result<(String, Document)> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the policy {name}"))?;
    let document = parse(&name, &text)?;
    Ok((text, document))
}

fn parse(name: &str, text: &str) -> anyhow::Result<Document> {
    Document::parse(text).map_err(|errors| {
        // On lines of its own: the carets must stand under what they point at.
        anyhow!("the policy is refused\n{}", policy::render(name, text, &errors).trim_end())
    })
}

fn compile(document: &Document) -> anyhow::Result<Compiled> {
    policy::compile(document).context("the policy cannot be compiled")
}
