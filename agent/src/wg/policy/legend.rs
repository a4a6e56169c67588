//! What a control plane tells beside a filter, for people alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use policy::{Query, RuleId, Selector};
use proto::control::RuleLine;

use super::source::RulePlace;

/// What is shown of a rule at most, whatever was told.
const TEXT: usize = 255;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legend {
    /// The domain under which the names of nodes stand.
    pub(crate) domain: String,
    /// The nodes that this one knows; itself is the first.
    pub(crate) nodes: Vec<KnownNode>,
    /// Where rules are written, by their numbers.
    pub(crate) rules: BTreeMap<u32, RuleLine>,
}

/// A node, as far as others are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownNode {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Legend {
    /// The addresses of both ends of a question.
    pub(super) fn ends(&self, query: &Query) -> anyhow::Result<[Vec<IpAddr>; 2]> {
        Ok([self.addresses(&query.source)?, self.addresses(&query.destination)?])
    }

    /// Where a rule is written, and what it says.
    pub(super) fn rule(&self, RuleId(id): RuleId) -> (RulePlace, String) {
        let Some(RuleLine { line, text, .. }) = self.rules.get(&id) else {
            return (RulePlace::Network(id), format!("rule {id} of the network's policy"));
        };
        let text = text.as_deref().filter(|text| !text.is_empty()).map_or_else(
            || "(this node has too many rules to be told what they say)".to_owned(),
            |text| text.chars().filter(|c| !c.is_control()).take(TEXT).collect(),
        );
        (RulePlace::Line(*line), text)
    }

    fn addresses(&self, end: &Selector) -> anyhow::Result<Vec<IpAddr>> {
        match end {
            Selector::Prefix(prefix) if prefix.is_host() => Ok(vec![prefix.address()]),
            Selector::Host(name) => {
                let name = name.as_str();
                let label = name.strip_suffix(&self.domain).and_then(|it| it.strip_suffix('.'));
                let is_it = |node: &&KnownNode| {
                    node.name == name || Some(node.name.as_str()) == label || node.id == name
                };
                let known = self.nodes.iter().find(is_it).map(|node| node.addresses.clone());
                known.ok_or_else(|| {
                    anyhow::anyhow!(
                        "this node knows no node {name:?}: name itself, one of its peers (nearwire \
                         peers list) or an address"
                    )
                })
            }
            Selector::User(_) | Selector::Group(_) | Selector::Tag(_) | Selector::Autogroup(_) => {
                anyhow::bail!(
                    "a node is told what its peers are called, not whose they are: name a node or \
                     an address in place of {end}"
                )
            }
            Selector::Any | Selector::Prefix(_) | Selector::Range(_) => {
                anyhow::bail!("{end} is more than one address")
            }
        }
    }

    /// What the node with this address is called.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<&str> {
        let node = self.nodes.iter().find(|node| node.addresses.contains(&address));
        node.map(|node| node.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legend() -> Legend {
        let node = |id: &str, name: &str, address: &str| KnownNode {
            id: id.to_owned(),
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap(), "fd00::1".parse().unwrap()],
        };
        let nodes = vec![node("n1", "laptop", "100.64.0.1"), node("n2", "web", "100.64.0.2")];
        let rule = |id, line, text: &str| RuleLine { id, line, text: Some(text.to_owned()) };
        let rules = [rule(4, 2, "{ \u{1b}[2J\"acls\" }"), rule(5, 9, "")];
        let rules = rules.into_iter().map(|rule| (rule.id, rule)).collect();
        Legend { domain: "home.mesh".to_owned(), nodes, rules }
    }

    #[test]
    fn rules_are_named_as_far_as_they_are_told() {
        let legend = legend();
        let text = "{ [2J\"acls\" }".to_owned();
        assert_eq!(legend.rule(RuleId(4)), (RulePlace::Line(2), text));
        let (place, text) = legend.rule(RuleId(5));
        assert_eq!(place, RulePlace::Line(9));
        assert!(text.contains("too many"), "{text}");
        let text = "rule 6 of the network's policy".to_owned();
        assert_eq!(legend.rule(RuleId(6)), (RulePlace::Network(6), text));
    }

    #[test]
    fn nodes_are_found_by_name_domain_id_and_address() {
        let legend = legend();
        let destination = |text: &str| -> Result<String, String> {
            let query = Query::parse("laptop", &format!("{text}:22")).map_err(|e| e.to_string())?;
            let [from, to] = legend.ends(&query).map_err(|error| error.to_string())?;
            assert_eq!(from.len(), 2);
            Ok(to[0].to_string())
        };
        for text in ["web", "web.home.mesh", "n2", "100.64.0.2"] {
            assert_eq!(destination(text).as_deref(), Ok("100.64.0.2"), "{text}");
        }
        for (text, why) in [
            ("db", "knows no node \"db\""),
            ("webhome.mesh", "knows no node"),
            ("alice@example.com", "not whose they are"),
            ("tag:web", "in place of tag:web"),
            ("100.64.0.1-100.64.0.9", "more than one address"),
        ] {
            let error = destination(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(legend.name_of("100.64.0.2".parse().unwrap()), Some("web"));
        assert_eq!(legend.name_of("100.64.0.3".parse().unwrap()), None);
    }
}
