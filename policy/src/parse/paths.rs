//! `paths`: by which kinds of path the packets of two nodes may go. An extension of ours.

use jsonc_parser::ast::{Object, ObjectProp};
use proto::control::{PathKind, PathKinds};

use super::{definitions::Definitions, selector};
use crate::{
    Autogroup, MAX_PATH_RULES, MAX_SELECTORS, PathRule, Selector,
    reader::{Fault, Reader, fault},
};

const REFUSED: &[(&str, &str)] = &[
    ("action", "what \"use\" does not list is forbidden"),
    ("proto", "a path is that of all packets between two nodes"),
    ("ip", "a path is that of all packets between two nodes"),
    ("via", "who relays is named by a grant with \"app\": { \"nearwire/relay\": [] }"),
];
/// Kinds in one list: enough to name each error in it.
const MOST_KINDS: usize = 16;

pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    paths: Option<&ObjectProp<'a>>,
) -> Vec<PathRule> {
    let objects = paths.map(|paths| reader.objects(paths, "a rule of paths", MAX_PATH_RULES));
    let objects = objects.unwrap_or_default();
    objects.into_iter().filter_map(|object| rule(reader, defined, object)).collect()
}

fn rule<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    object: &Object<'a>,
) -> Option<PathRule> {
    let before = reader.faults();
    let [src, dst, kinds] = reader.fields(object, ["src", "dst", "use"], REFUSED);
    for (field, name) in [(src, "src"), (dst, "dst"), (kinds, "use")] {
        if field.is_none() {
            reader.refuse(object.range.start, format!("the rule lacks {name:?}"));
        }
    }
    let sources = src.map_or_else(Vec::new, |src| nodes(reader, defined, src));
    let destinations = dst.map_or_else(Vec::new, |dst| nodes(reader, defined, dst));
    let kinds = kinds.map_or(PathKinds::NONE, |kinds| read_kinds(reader, kinds));
    let (line, span) = reader.place(object);
    (reader.faults() == before).then_some(PathRule { line, span, sources, destinations, kinds })
}

fn nodes<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    property: &ObjectProp<'a>,
) -> Vec<Selector> {
    let mut nodes = Vec::new();
    for (selector, at) in reader.some_strings(property, MAX_SELECTORS, one) {
        let no_nodes = match selector {
            Selector::Autogroup(Autogroup::Own) => {
                Some("autogroup:self is another for each source: name users, groups or tags")
            }
            Selector::Autogroup(Autogroup::Internet) => {
                Some("a path leads from node to node: what is outside the network has none")
            }
            _ => None,
        };
        if let Some(reason) = no_nodes {
            reader.refuse(at, reason);
        }
        if let Some(reason) = defined.undefined(&selector) {
            reader.refuse(at, reason);
        }
        nodes.push(selector);
    }
    nodes
}

/// The ports of an `acls` entry are the likeliest mistake.
fn one(text: &str) -> Result<Selector, Fault> {
    selector::selector(text).map_err(|wrong| match selector::split_ports(text) {
        Ok(((whom, _), (_, at))) if selector::selector(whom).is_ok() => {
            let reason = format!("a path has no ports: write {whom:?}");
            Fault { at: at - 1, reason }
        }
        Ok(_) | Err(_) => wrong,
    })
}

fn read_kinds<'a>(reader: &mut Reader<'a>, property: &ObjectProp<'a>) -> PathKinds {
    if let Some(array) = property.value.as_array()
        && array.elements.is_empty()
    {
        let reason = "\"use\" is empty: it would leave no path; to part nodes, accept no flow \
                      between them";
        reader.refuse(array.range.start, reason);
    }
    let mut kinds = PathKinds::NONE;
    for (kind, at) in reader.strings(property, MOST_KINDS, read_kind) {
        if kinds.has(kind) {
            reader.refuse(at, format!("{:?} is given twice", kind.label()));
        }
        kinds = kinds.with(kind);
    }
    kinds
}

fn read_kind(text: &str) -> Result<PathKind, Fault> {
    let unknown = || {
        let known = PathKind::ALL.map(|kind| format!("{:?}", kind.label())).join(", ");
        fault(0, format!("{text:?} is no kind of path: there are {known}"))
    };
    PathKind::named(text).map_or_else(unknown, Ok)
}
