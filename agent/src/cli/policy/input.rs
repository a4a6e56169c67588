//! The files that the commands read, and what they say of those that they refuse.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use policy::{CompileError, Compiled, Diagnostics, Document, Nodes, Plan, Span, Unfit};
use serde_json::{Value, json};

use crate::wg::NamedText;

/// A policy document from a file.
pub(super) struct Policy {
    pub(super) file: String,
    text: String,
    pub(super) document: Document,
}

/// A file that is not what it should be.
#[derive(Debug)]
struct Refused {
    what: &'static str,
    file: String,
    text: String,
    diagnostics: Diagnostics,
}

/// Reads a policy document.
pub(super) fn policy(path: &Path) -> anyhow::Result<Policy> {
    let NamedText { name: file, text } = NamedText::read(path, "the policy")?;
    match Document::parse(&text) {
        Ok(document) => Ok(Policy { file, text, document }),
        Err(diagnostics) => Err(Refused { what: "policy", file, text, diagnostics }.into()),
    }
}

/// Reads a file of nodes; without one there are none.
pub(super) fn nodes(path: Option<&Path>) -> anyhow::Result<Nodes> {
    let Some(path) = path else { return Ok(Nodes::default()) };
    let NamedText { name: file, text } = NamedText::read(path, "the nodes")?;
    Nodes::parse(&text)
        .map_err(|diagnostics| Refused { what: "file of nodes", file, text, diagnostics }.into())
}

impl Policy {
    /// The tables for a gateway that enforces the document between all nodes; or why there are none.
    pub(super) fn gateway(&self, plan: &Plan) -> Result<Compiled, String> {
        plan.everything().compile().map_err(|error| self.too_large(error))
    }

    /// Whether each node can enforce what concerns it.
    pub(super) fn fits(&self, plan: &Plan) -> anyhow::Result<()> {
        match plan.unfit() {
            None => Ok(()),
            Some(Unfit { node, error }) => {
                let (file, reason) = (&self.file, self.too_large(error));
                bail!("{file} cannot be compiled for the node {node}: {reason}")
            }
        }
    }

    fn too_large(&self, error: CompileError) -> String {
        match error {
            CompileError::TooManyEntries { limit, widest } => {
                let (line, text) = self.rule(widest);
                format!(
                    "it needs more than {limit} table entries, most of them because of line {line}: {text}"
                )
            }
            CompileError::TooManyMemberships { .. } | CompileError::TooManySets => {
                error.to_string()
            }
        }
    }

    /// The line on which a rule begins, and what it says.
    pub(super) fn rule(&self, index: policy::RuleIndex) -> (u32, String) {
        let rule = &self.document.rules()[index.0 as usize];
        (rule.line, self.excerpt(rule.span))
    }

    /// A piece of it, on one line.
    pub(super) fn excerpt(&self, span: Span) -> String {
        span.excerpt(&self.text)
    }

    /// What the document needs and does not get; it means less than it says then.
    pub(super) fn warnings(&self, nodes: &Nodes, given: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if !given && self.document.names_nodes() {
            warnings.push(format!(
                "{} names users, groups, tags or autogroups, which are nobody without nodes: give \
                 --nodes FILE",
                self.file
            ));
        }
        for node in nodes.iter() {
            let policy::NodeIdentity::Tags(tags) = &node.identity else { continue };
            let owners = self.document.tag_owners();
            warnings.extend(tags.iter().filter(|tag| !owners.contains_key(*tag)).map(|tag| {
                format!("the node {} has {tag}, which is not in \"tagOwners\"", node.name)
            }));
        }
        warnings
    }
}

impl fmt::Display for Refused {
    /// The places are on lines of their own: the carets must stand under what they point at.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = policy::render(&self.file, &self.text, &self.diagnostics);
        write!(f, "the {} is refused\n{}", self.what, places.trim_end())
    }
}

impl std::error::Error for Refused {}

/// Passes on what a command came to. With `--json`, a refused file is an answer as well.
pub(super) fn answer(json: bool, result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if json => match error.downcast_ref::<Refused>() {
            Some(refused) => {
                println!("{}", refused.to_json());
                Ok(ExitCode::FAILURE)
            }
            None => Err(error),
        },
        result => result,
    }
}

impl Refused {
    fn to_json(&self) -> Value {
        let diagnostics: Vec<Value> = self
            .diagnostics
            .iter()
            .map(|place| {
                json!({ "line": place.line, "column": place.column, "reason": place.reason })
            })
            .collect();
        let more = self.diagnostics.more();
        json!({ "file": self.file, "valid": false, "errors": diagnostics, "more_errors": more })
    }
}

pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("nearwire: warning: {warning}");
    }
}
