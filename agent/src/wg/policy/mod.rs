//! The policy of an interface: the document that is in force and the programs that enforce it.

mod explain;
mod legend;
mod source;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use dataplane::{Pins, TunnelPolicy};
use dataplane_common::{Generation, RuleIndex};
use policy::Filter;

pub(crate) use explain::{Explanation, Question};
pub(crate) use legend::{KnownNode, Legend};
pub(super) use source::RuleText;
use source::{Meaning, Prepared};
pub(crate) use source::{NamedText, Scope};
pub(crate) use status::PolicyStatus;

/// Where the policy comes from, to read it anew.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The document.
    pub(crate) document: PathBuf,
    /// The nodes that its names mean.
    pub(crate) nodes: Option<PathBuf>,
    /// The one of them whose rules are enforced.
    pub(crate) node: Option<String>,
}

/// A policy in force.
pub(super) struct Policy {
    interface: String,
    pub(super) enforced: TunnelPolicy,
    pinned: Option<PathBuf>,
    meaning: Meaning,
    rules: Vec<RuleText>,
    /// The rules of the policy before this one: what it decided may still be reported.
    previous: Vec<RuleText>,
}

/// What is to be enforced, not compiled yet.
pub(crate) enum Proposal {
    /// A document with whom it concerns, read but not understood.
    Document(NamedText, Scope),
    /// What a control plane has made of its document for this node, and what it tells of it.
    Filter(Box<Filter>, Arc<Legend>),
}

impl Files {
    /// Reads them.
    pub(super) fn read(&self) -> anyhow::Result<Proposal> {
        let document = NamedText::read(&self.document, "the policy")?;
        let nodes =
            self.nodes.as_deref().map(|path| NamedText::read(path, "the nodes")).transpose()?;
        Ok(Proposal::Document(document, Scope::new(nodes.as_ref(), self.node.as_deref())?))
    }
}

impl Proposal {
    /// Understands and compiles it, beside what else there is to do.
    async fn prepare(self) -> anyhow::Result<Prepared> {
        let preparing = tokio::task::spawn_blocking(move || match self {
            Self::Document(document, scope) => Prepared::new(&document, scope),
            Self::Filter(filter, legend) => Prepared::of_filter(&filter, legend),
        });
        preparing.await.context("the policy could not be compiled")?
    }
}

impl Policy {
    /// Puts a policy on an interface that carries nothing yet, or that has a policy pinned.
    pub(super) async fn attach(
        interface: &str,
        proposal: Proposal,
        pins: Option<&Pins>,
    ) -> anyhow::Result<Self> {
        let Prepared { compiled, rules, meaning } = proposal.prepare().await?;
        let enforced = TunnelPolicy::attach(interface, &compiled, pins)
            .with_context(|| format!("cannot enforce the policy on {interface}"))?;
        Ok(Self {
            interface: interface.to_owned(),
            enforced,
            pinned: pins.map(|pins| pins.directory().to_owned()),
            meaning,
            rules,
            previous: Vec::new(),
        })
    }

    /// Replaces the policy; on an error the one in force stays.
    pub(super) async fn apply(&mut self, proposal: Proposal) -> anyhow::Result<Generation> {
        let Prepared { compiled, rules, meaning } = proposal.prepare().await?;
        let generation = self
            .enforced
            .programs_mut()
            .apply(&compiled)
            .with_context(|| format!("the policy of {} stays as it was", self.interface))?;
        self.meaning = meaning;
        self.previous = std::mem::replace(&mut self.rules, rules);
        Ok(generation)
    }

    /// Takes over what else is told of the filter in force.
    pub(super) fn tell(&mut self, told: Arc<Legend>) {
        let Meaning::Legend(legend, ids) = &mut self.meaning else { return };
        for (rule, id) in self.rules.iter_mut().zip(ids) {
            (rule.place, rule.text) = told.rule(*id);
        }
        *legend = told;
    }

    /// A document from elsewhere for the nodes in force, or for others.
    pub(super) fn proposal(
        &self,
        document: NamedText,
        nodes: Option<&NamedText>,
    ) -> anyhow::Result<Proposal> {
        let scope = match (nodes, &self.meaning) {
            (Some(nodes), meaning) => Scope::new(Some(nodes), meaning.node())?,
            (None, Meaning::Document(_, scope)) => scope.clone(),
            (None, Meaning::Legend(..)) => Scope::default(),
        };
        Ok(Proposal::Document(document, scope))
    }

    /// A rule, while its policy or the next one is in force.
    pub(super) fn rule(&self, generation: Generation, rule: RuleIndex) -> Option<&RuleText> {
        let current = self.enforced.programs().generation();
        let rules = if generation == current {
            &self.rules
        } else if generation.next() == current {
            &self.previous
        } else {
            return None;
        };
        rules.get(rule.0 as usize)
    }
}
