//! `tests`: what a document expects of itself.

use jsonc_parser::ast::{Object, ObjectProp};

use super::{definitions::Definitions, selector};
use crate::{
    Action, Autogroup, Expectation, MAX_RULES, MAX_SELECTORS, Protocols, Selector, Test,
    ports::decimal,
    protocol::{TCP, UDP},
    reader::{Fault, Reader, fault},
};

const REFUSED: &[(&str, &str)] = &[
    ("srcPostureAttrs", "nearwire knows no device posture"),
    ("allow", "it is the old name of \"accept\""),
    ("user", "it is the old name of \"src\""),
];

pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    tests: Option<&ObjectProp<'a>>,
) -> Vec<Test> {
    let objects = tests.map(|tests| reader.objects(tests, "a test", MAX_RULES)).unwrap_or_default();
    objects.into_iter().filter_map(|object| test(reader, defined, object)).collect()
}

fn test<'a>(reader: &mut Reader<'a>, defined: &Definitions, object: &Object<'a>) -> Option<Test> {
    let before = reader.faults();
    let [src, proto, accept, deny] =
        reader.fields(object, ["src", "proto", "accept", "deny"], REFUSED);
    if src.is_none() {
        reader.refuse(object.range.start, "the test lacks \"src\"");
    }
    if accept.is_none() && deny.is_none() {
        reader.refuse(object.range.start, "the test expects nothing: add \"accept\" or \"deny\"");
    }
    let source = src.and_then(|src| reader.string(src, |text| party(text, defined)));
    let protocols = match proto {
        Some(proto) => reader
            .string(proto, selector::protocols)
            .map_or_else(Vec::new, |protocols| vec![protocols]),
        None => vec![Protocols::One(TCP), Protocols::One(UDP)],
    };
    let mut expectations = Vec::new();
    for (list, action) in [(accept, Action::Accept), (deny, Action::Deny)] {
        let Some(list) = list else { continue };
        let read = |text: &str| destination(text, &protocols, defined);
        for ((destination, port), at) in reader.strings(list, MAX_SELECTORS, read) {
            expectations.push(Expectation { line: reader.line(at), action, destination, port });
        }
    }
    (reader.faults() == before).then_some(Test {
        line: reader.line(object.range.start),
        source: source?,
        protocols,
        expectations,
    })
}

/// One end of a flow: a name that no section defines is a node's.
fn party(text: &str, defined: &Definitions) -> Result<Selector, Fault> {
    let selector = selector::selector(text)?;
    match &selector {
        Selector::Host(name) if !defined.has_host(name) => {
            return Ok(selector);
        }
        Selector::Prefix(prefix) if !prefix.is_host() => {
            return fault(0, "a test is about single flows: write an address of the prefix");
        }
        Selector::Host(name) if defined.hosts.get(name).is_some_and(|prefix| !prefix.is_host()) => {
            return fault(0, format!("{name} is a prefix: write an address of it"));
        }
        Selector::Any
        | Selector::Range(_)
        | Selector::Autogroup(Autogroup::Own | Autogroup::Internet) => {
            return fault(0, format!("a test is about single flows: {text:?} names too many"));
        }
        _ => {}
    }
    match defined.undefined(&selector) {
        Some(reason) => fault(0, reason),
        None => Ok(selector),
    }
}

fn destination(
    text: &str,
    protocols: &[Protocols],
    defined: &Definitions,
) -> Result<(Selector, u16), Fault> {
    let ((whom, whom_at), (port, port_at)) = selector::split_ports(text)?;
    let party = party(whom, defined).map_err(|fault| Fault { at: fault.at + whom_at, ..fault })?;
    let any_ports = protocols.iter().any(Protocols::have_ports);
    match decimal::<u16>(port) {
        Some(port) if any_ports || port == 0 => Ok((party, port)),
        None if port == "*" && !any_ports => Ok((party, 0)),
        Some(_) => fault(port_at, "the test's protocol has no ports: write 0"),
        None => fault(port_at, format!("{port:?} is not a port: a test names a single one")),
    }
}
