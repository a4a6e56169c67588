//! From files to what can be enforced: a document, the nodes that its names mean, and the tables.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::str::Utf8Error;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use policy::{
    Action, Compiled, Diagnostics, Document, Filter, NodeName, Nodes, Packet, Plan, Query, RuleId,
};
use serde::{Deserialize, Serialize};

use super::legend::Legend;

/// A file that was read, with its name for errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NamedText {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Whose rules are to be enforced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Who is meant by users, tags and groups.
    pub(crate) nodes: Nodes,
    /// Only what concerns this one of them; all rules, if none is named.
    pub(crate) node: Option<NodeName>,
}

/// What can be put in force.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) compiled: Compiled,
    pub(super) rules: Vec<RuleText>,
    pub(super) meaning: Meaning,
}

/// What names mean, and whose rules are enforced.
#[derive(Debug)]
pub(super) enum Meaning {
    /// By a document that is here.
    Document(Box<Document>, Scope),
    /// By what a control plane tells of one, and the numbers of the rules.
    Legend(Arc<Legend>, Vec<RuleId>),
}

/// A rule that is in force, as its document has it.
#[derive(Clone, Debug)]
pub(in crate::wg) struct RuleText {
    pub(in crate::wg) place: RulePlace,
    pub(super) action: Action,
    /// What it says, on one line.
    pub(in crate::wg) text: String,
}

/// Where a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RulePlace {
    /// On this line of the document.
    Line(u32),
    /// Under this number in a document that only the control plane has.
    Network(u32),
}

impl RulePlace {
    /// The line, where there is one.
    pub(crate) const fn line(self) -> Option<u32> {
        match self {
            Self::Line(line) => Some(line),
            Self::Network(_) => None,
        }
    }

    /// The number, where there is no line.
    pub(crate) const fn network(self) -> Option<u32> {
        match self {
            Self::Line(_) => None,
            Self::Network(number) => Some(number),
        }
    }
}

impl Meaning {
    /// The one node whose rules are enforced, if one was named.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Self::Document(_, scope) => scope.node.as_ref().map(NodeName::as_str),
            Self::Legend(..) => None,
        }
    }

    /// The first packets of the flows that are asked about.
    pub(super) fn packets(&self, query: &Query) -> anyhow::Result<Vec<Packet>> {
        Ok(match self {
            Self::Document(document, scope) => query.packets(document, &scope.nodes)?,
            Self::Legend(legend, _) => {
                let [sources, destinations] = legend.ends(query)?;
                query.packets_between(&sources, &destinations)?
            }
        })
    }

    /// What the node with this address is called.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<&str> {
        match self {
            Self::Document(_, scope) => Some(scope.nodes.with_address(address)?.name.as_str()),
            Self::Legend(legend, _) => legend.name_of(address),
        }
    }
}

impl NamedText {
    /// Reads a file.
    pub(crate) fn read(path: &Path, what: &str) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("cannot read {what} {name}"))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(not_utf8(&name, error.as_bytes(), error.utf8_error())),
        }
    }

    /// What `parse` makes of it; an error shows every place that is wrong.
    fn parse<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Diagnostics>,
    ) -> anyhow::Result<T> {
        parse(&self.text).map_err(|errors| {
            let shown = policy::render(&self.name, &self.text, &errors);
            // On lines of its own: the carets must stand under what they point at.
            anyhow!("{what} refused\n{}", shown.trim_end())
        })
    }
}

/// Where a file stops to be UTF-8, and what it is more likely.
fn not_utf8(name: &str, bytes: &[u8], error: Utf8Error) -> anyhow::Error {
    let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let is = if utf16 { "UTF-16, not UTF-8" } else { "not UTF-8" };
    anyhow!(
        "{name}:{line}:{column}: this is {is}: save the file as UTF-8, without a byte order mark"
    )
}

impl Scope {
    /// The nodes of a file, and the one whose rules are wanted.
    pub(crate) fn new(nodes: Option<&NamedText>, node: Option<&str>) -> anyhow::Result<Self> {
        let nodes = match nodes {
            Some(file) => file.parse("the nodes are", Nodes::parse)?,
            None => Nodes::default(),
        };
        let node = match node {
            Some(name) => Some(
                NodeName::parse(name)
                    .filter(|name| nodes.get(name).is_some())
                    .with_context(|| format!("no node is called {name:?} in the nodes' file"))?,
            ),
            None => None,
        };
        Ok(Self { nodes, node })
    }
}

impl Prepared {
    /// Reads and compiles a document. It may take seconds, if that is large.
    pub(super) fn new(file: &NamedText, scope: Scope) -> anyhow::Result<Self> {
        let document = file.parse("the policy is", Document::parse)?;
        if document.names_nodes() && scope.nodes.is_empty() {
            tracing::warn!(
                policy = file.name,
                "it names users, groups, tags or autogroups, which are nobody without nodes: give \
                 --nodes FILE"
            );
        }
        let plan = Plan::new(document, &scope.nodes);
        let filter = match &scope.node {
            Some(name) => plan.filter(name).unwrap_or_default(),
            None => plan.everything(),
        };
        let compiled = filter.compile().context("the policy cannot be compiled")?;
        let rules = filter
            .rules()
            .iter()
            .filter_map(|&id| plan.rule(id))
            .map(|(_, rule)| {
                let text = rule.span.excerpt(&file.text);
                RuleText { place: RulePlace::Line(rule.line), action: rule.action, text }
            })
            .collect();
        let document = Box::new(plan.document().clone());
        Ok(Self { compiled, rules, meaning: Meaning::Document(document, scope) })
    }

    /// Compiles what somebody else has made of a document, whose text is not here.
    pub(super) fn of_filter(filter: &Filter, legend: Arc<Legend>) -> anyhow::Result<Self> {
        let compiled = filter.compile().context("the filter cannot be compiled")?;
        let mut rules: Vec<_> = filter
            .rules()
            .iter()
            .map(|&rule| {
                let (place, text) = legend.rule(rule);
                RuleText { place, action: Action::Accept, text }
            })
            .collect();
        for flow in filter.flows() {
            if let Some(rule) = rules.get_mut(flow.rule.0 as usize) {
                rule.action = flow.action;
            }
        }
        let meaning = Meaning::Legend(legend, filter.rules().to_vec());
        Ok(Self { compiled, rules, meaning })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_several_lines_is_one_text() {
        let text = "{ \"acls\": [\n  {\n    \"action\": \"accept\", // all\n    \"src\": [\"*\"],\n    \
                    \"dst\": [\"*:22\"]\n  }\n] }";
        let file = NamedText { name: "policy".to_owned(), text: text.to_owned() };
        let prepared = Prepared::new(&file, Scope::default()).unwrap();
        let [rule] = prepared.rules.as_slice() else { panic!("one rule") };
        assert_eq!(rule.place, RulePlace::Line(2));
        assert_eq!(rule.text, r#"{ "action": "accept", "src": ["*"], "dst": ["*:22"] }"#);
    }
}
