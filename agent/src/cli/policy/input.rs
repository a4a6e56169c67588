//! The files that the commands read, and what they say of those that they refuse.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use policy::{CompileError, Compiled, Diagnostic, Diagnostics, Document, Nodes, Plan, Span, Unfit};
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
    file: String,
    /// Why, for a person.
    told: String,
    /// Why, for a program.
    errors: Vec<Value>,
    more: usize,
}

/// Reads a policy document.
pub(super) fn policy(path: &Path) -> anyhow::Result<Policy> {
    let file = read(path, "the policy")?;
    match Document::parse(&file.text) {
        Ok(document) => Ok(Policy { file: file.name, text: file.text, document }),
        Err(errors) => Err(Refused::wrong("policy", file, &errors).into()),
    }
}

/// Reads a file of nodes; without one there are none.
pub(super) fn nodes(path: Option<&Path>) -> anyhow::Result<Nodes> {
    let Some(path) = path else { return Ok(Nodes::default()) };
    let file = read(path, "the nodes")?;
    Nodes::parse(&file.text).map_err(|errors| Refused::wrong("file of nodes", file, &errors).into())
}

fn read(path: &Path, what: &str) -> Result<NamedText, Refused> {
    NamedText::read(path, what)
        .map_err(|error| Refused::whole(path.display().to_string(), None, format!("{error:#}")))
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
                let line = match error {
                    CompileError::TooManyEntries { widest, .. } => Some(self.rule(widest).0),
                    CompileError::TooManyMemberships { .. } | CompileError::TooManySets => None,
                };
                let (file, reason) = (self.file.clone(), self.too_large(error));
                let told = format!("{file} cannot be compiled for the node {node}: {reason}");
                Err(Refused::whole(file, line, told).into())
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
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
    /// In these places, which are on lines of their own: the carets must stand under what they point
    /// at.
    fn wrong(what: &str, NamedText { name: file, text }: NamedText, errors: &Diagnostics) -> Self {
        let told = policy::render(&file, &text, errors);
        let told = format!("the {what} is refused\n{}", told.trim_end());
        let place = |Diagnostic { line, column, reason, .. }: &Diagnostic| json!({ "line": line, "column": column, "reason": reason });
        Self { file, told, errors: errors.iter().map(place).collect(), more: errors.more() }
    }

    /// As a whole, or because of one line.
    fn whole(file: String, line: Option<u32>, reason: String) -> Self {
        let errors = vec![json!({ "line": line, "column": null, "reason": reason })];
        Self { file, told: reason, errors, more: 0 }
    }

    fn to_json(&self) -> Value {
        let Self { file, errors, more, .. } = self;
        json!({ "file": file, "valid": false, "errors": errors, "more_errors": more })
    }
}

pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("nearwire: warning: {warning}");
    }
}
