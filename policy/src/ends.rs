//! Which addresses the ends of single flows have.

use std::{fmt, net::IpAddr};

use crate::{Autogroup, Document, NodeIdentity, NodeName, Nodes, Selector, UserName};

/// The addresses that a selector gives to one end of a flow; or why it is no end of one. A name
/// that the document does not define is a node's.
pub(crate) fn addresses(
    document: &Document,
    nodes: &Nodes,
    selector: &Selector,
) -> Result<Vec<IpAddr>, String> {
    let of_users = |of: &dyn Fn(&UserName) -> bool| {
        picked(nodes, |identity| matches!(identity, NodeIdentity::User(user) if of(user)))
    };
    let found = match selector {
        Selector::Prefix(prefix) if prefix.is_host() => vec![prefix.address()],
        Selector::Host(name) => match document.hosts().get(name) {
            Some(prefix) if prefix.is_host() => vec![prefix.address()],
            Some(prefix) => return Err(format!("{name} is {prefix}: name one address of it")),
            None => match NodeName::parse(name.as_str()).and_then(|name| nodes.get(&name).cloned())
            {
                Some(node) => node.addresses,
                None => return Err(format!("neither \"hosts\" nor the nodes have {name}")),
            },
        },
        Selector::User(name) => of_users(&|user| user == name),
        Selector::Group(name) => match document.groups().get(name) {
            Some(members) => of_users(&|user| members.contains(user)),
            None => return Err(format!("{name} is not defined")),
        },
        Selector::Autogroup(Autogroup::Member) => of_users(&|_| true),
        Selector::Autogroup(Autogroup::Tagged) => {
            picked(nodes, |identity| matches!(identity, NodeIdentity::Tags(_)))
        }
        Selector::Tag(tag) => picked(
            nodes,
            |identity| matches!(identity, NodeIdentity::Tags(tags) if tags.contains(tag)),
        ),
        Selector::Any
        | Selector::Prefix(_)
        | Selector::Range(_)
        | Selector::Autogroup(Autogroup::Own | Autogroup::Internet) => {
            return Err(format!("{selector} is more than one address"));
        }
    };
    if found.is_empty() { Err(format!("no node is {selector}")) } else { Ok(found) }
}

fn picked(nodes: &Nodes, is: impl Fn(&NodeIdentity) -> bool) -> Vec<IpAddr> {
    let nodes = nodes.iter().filter(|node| is(&node.identity));
    nodes.flat_map(|node| node.addresses.iter().copied()).collect()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Range(range) => range.fmt(f),
            Self::Host(name) => name.fmt(f),
            Self::User(name) => name.fmt(f),
            Self::Group(name) => name.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
            Self::Autogroup(Autogroup::Member) => f.write_str("autogroup:member"),
            Self::Autogroup(Autogroup::Tagged) => f.write_str("autogroup:tagged"),
            Self::Autogroup(Autogroup::Own) => f.write_str("autogroup:self"),
            Self::Autogroup(Autogroup::Internet) => f.write_str("autogroup:internet"),
        }
    }
}
