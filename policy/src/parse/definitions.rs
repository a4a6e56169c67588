//! `groups`, `hosts` and `tagOwners`: the names that rules may use.

use std::collections::{BTreeMap, BTreeSet};

use jsonc_parser::{ast::ObjectProp, common::Ranged as _};

use super::selector;
use crate::{
    GroupName, HostName, MAX_MEMBERS, Owner, Prefix, Selector, TagName, UserName,
    names::is_host,
    reader::{Fault, Reader, fault},
};

/// What a document defines. A name whose definition is faulty counts as defined, so that one error
/// does not bring others with it.
#[derive(Default)]
pub(super) struct Definitions {
    pub(super) groups: BTreeMap<GroupName, Vec<UserName>>,
    pub(super) hosts: BTreeMap<HostName, Prefix>,
    pub(super) tag_owners: BTreeMap<TagName, Vec<Owner>>,
    faulty_hosts: BTreeSet<HostName>,
}

impl Definitions {
    /// What is wrong with a selector whose name nothing defines.
    pub(super) fn undefined(&self, selector: &Selector) -> Option<String> {
        match selector {
            Selector::Group(group) => self.undefined_group(group),
            Selector::Tag(tag) => self.undefined_tag(tag),
            Selector::Host(host) => (!self.has_host(host)).then(|| {
                format!("the host {:?} is not defined: add it to \"hosts\"", host.as_str())
            }),
            Selector::Any
            | Selector::Prefix(_)
            | Selector::Range(_)
            | Selector::User(_)
            | Selector::Autogroup(_) => None,
        }
    }

    pub(super) fn has_host(&self, host: &HostName) -> bool {
        self.hosts.contains_key(host) || self.faulty_hosts.contains(host)
    }

    fn undefined_group(&self, group: &GroupName) -> Option<String> {
        (!self.groups.contains_key(group))
            .then(|| format!("{group} is not defined: add it to \"groups\""))
    }

    fn undefined_tag(&self, tag: &TagName) -> Option<String> {
        (!self.tag_owners.contains_key(tag))
            .then(|| format!("{tag} is not defined: add it to \"tagOwners\""))
    }
}

pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    groups: Option<&ObjectProp<'a>>,
    hosts: Option<&ObjectProp<'a>>,
    tag_owners: Option<&ObjectProp<'a>>,
) -> Definitions {
    let mut defined = Definitions::default();
    for property in groups.map(|property| reader.named(property)).unwrap_or_default() {
        let name = read_name(reader, property, selector::group);
        let members = reader.strings(property, MAX_MEMBERS, member);
        if let Some(name) = name {
            defined.groups.insert(name, members.into_iter().map(|(user, _)| user).collect());
        }
    }
    for property in hosts.map(|property| reader.named(property)).unwrap_or_default() {
        let name = read_name(reader, property, host);
        let prefix = reader.string(property, selector::prefix);
        match (name, prefix) {
            (Some(name), Some(prefix)) => drop(defined.hosts.insert(name, prefix)),
            (Some(name), None) => drop(defined.faulty_hosts.insert(name)),
            (None, _) => {}
        }
    }
    let mut named_owners = Vec::new();
    for property in tag_owners.map(|property| reader.named(property)).unwrap_or_default() {
        let name = read_name(reader, property, selector::tag);
        let owners = reader.strings(property, MAX_MEMBERS, owner);
        if let Some(name) = name {
            defined
                .tag_owners
                .insert(name, owners.iter().map(|(owner, _)| owner.clone()).collect());
        }
        named_owners.extend(owners);
    }
    for (owner, at) in named_owners {
        let undefined = match &owner {
            Owner::Group(group) => defined.undefined_group(group),
            Owner::Tag(tag) => defined.undefined_tag(tag),
            Owner::User(_) | Owner::Member => None,
        };
        if let Some(reason) = undefined {
            reader.refuse(at, reason);
        }
    }
    defined
}

fn read_name<'a, T>(
    reader: &mut Reader<'a>,
    property: &ObjectProp<'a>,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Option<T> {
    match read(property.name.as_str()) {
        Ok(name) => Some(name),
        Err(fault) => {
            reader.refuse(property.name.start(), fault.reason);
            None
        }
    }
}

fn host(text: &str) -> Result<HostName, Fault> {
    if is_host(text) && text.contains(char::is_alphabetic) {
        return Ok(HostName::new(text));
    }
    fault(
        0,
        format!("{text:?} is not the name of a host: use letters, digits, \"-\", \"_\", \".\""),
    )
}

fn member(text: &str) -> Result<UserName, Fault> {
    if text.starts_with("group:") {
        return fault(0, format!("{text:?}: a group holds users, not groups: name its members"));
    }
    if text.starts_with("tag:") || text.starts_with("autogroup:") {
        return fault(0, format!("{text:?}: a group holds users: write \"name@domain\""));
    }
    selector::user(text)
}

fn owner(text: &str) -> Result<Owner, Fault> {
    match selector::selector(text)? {
        Selector::User(user) => Ok(Owner::User(user)),
        Selector::Group(group) => Ok(Owner::Group(group)),
        Selector::Tag(tag) => Ok(Owner::Tag(tag)),
        Selector::Autogroup(crate::Autogroup::Member) => Ok(Owner::Member),
        Selector::Any
        | Selector::Prefix(_)
        | Selector::Range(_)
        | Selector::Host(_)
        | Selector::Autogroup(_) => fault(
            0,
            format!("{text:?} cannot own a tag: write a user, a group, a tag or autogroup:member"),
        ),
    }
}
