//! Whom a document names although no node is theirs: rules for them mean nobody.

use std::collections::{BTreeMap, BTreeSet};

use policy::{Document, NodeIdentity, Nodes, Selector, TagName, UserName};

/// Names that one warning lists.
const MOST: usize = 16;

/// The users of some nodes, and their tags.
struct Present<'n> {
    users: BTreeSet<&'n UserName>,
    /// By how they are written without capitals.
    uncapitalised: BTreeMap<String, &'n UserName>,
    tags: BTreeSet<&'n TagName>,
}

impl<'n> Present<'n> {
    fn new(nodes: &'n Nodes) -> Self {
        let (mut users, mut tags) = (BTreeSet::new(), BTreeSet::new());
        for node in nodes.iter() {
            match &node.identity {
                NodeIdentity::User(user) => drop(users.insert(user)),
                NodeIdentity::Tags(given) => tags.extend(given),
            }
        }
        let uncapitalised = users.iter().map(|user| (user.as_str().to_lowercase(), *user));
        Self { uncapitalised: uncapitalised.collect(), users, tags }
    }

    /// The user of nodes who is written so but for capitals.
    fn meant(&self, user: &UserName) -> Option<&UserName> {
        let meant = self.uncapitalised.get(&user.as_str().to_lowercase())?;
        (!self.users.contains(user)).then_some(meant)
    }
}

pub(super) fn warnings(document: &Document, nodes: &Nodes) -> Vec<String> {
    let present = Present::new(nodes);
    let (mut absent, mut miswritten) = (BTreeSet::new(), BTreeSet::new());
    let nobody = Vec::new();
    for selector in named(document) {
        let (users, is_there) = match selector {
            Selector::User(user) => (std::slice::from_ref(user), present.users.contains(user)),
            Selector::Group(group) => {
                let users = document.groups().get(group).unwrap_or(&nobody);
                (users.as_slice(), users.iter().any(|user| present.users.contains(user)))
            }
            Selector::Tag(tag) => ([].as_slice(), present.tags.contains(tag)),
            Selector::Any
            | Selector::Prefix(_)
            | Selector::Range(_)
            | Selector::Host(_)
            | Selector::Autogroup(_) => continue,
        };
        let meant = users.iter().filter_map(|user| Some((user, present.meant(user)?)));
        miswritten.extend(meant.map(|(user, meant)| format!("{user} (which is {meant})")));
        if !is_there {
            absent.insert(selector.to_string());
        }
    }
    let warning = |names: &BTreeSet<String>, why: &str| {
        let more = names.len().saturating_sub(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let few: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
        (!few.is_empty()).then(|| format!("no node is {}{more}: {why}", few.join(", ")))
    };
    let miswritten = warning(&miswritten, "capitals count, write them as the nodes' users are");
    miswritten
        .into_iter()
        .chain(warning(&absent, "what the rules say of them is of nobody"))
        .collect()
}

/// Whom rules speak of.
fn named(document: &Document) -> impl Iterator<Item = &Selector> {
    let rules = document.rules().iter().flat_map(|rule| {
        rule.sources.iter().chain(rule.destinations.iter().map(|to| &to.selector))
    });
    let relays =
        document.relays().iter().flat_map(|grant| grant.sources.iter().chain(&grant.relays));
    let paths =
        document.paths().iter().flat_map(|rule| rule.sources.iter().chain(&rule.destinations));
    rules.chain(relays).chain(paths)
}
