//! `acls` and `grants`.

use std::sync::Arc;

use jsonc_parser::ast::{Object, ObjectProp};

use super::{app, definitions::Definitions, selector};
use crate::{
    Action, Autogroup, Destination, MAX_RULES, MAX_SELECTORS, PortRange, Protocols, RelayGrant,
    Rule, Selector, Service,
    reader::{Fault, Reader, fault},
};

const REFUSED_IN_ACLS: &[(&str, &str)] = &[
    ("srcPosture", "nearwire knows no device posture"),
    ("users", "it is the old name of \"src\""),
    ("ports", "it is the old name of \"dst\""),
];
const REFUSED_IN_GRANTS: &[(&str, &str)] = &[
    ("srcPosture", "nearwire knows no device posture"),
    ("via", "routes are chosen where the nodes are set up"),
];

/// What both sections say.
pub(super) struct Read {
    pub(super) rules: Vec<Rule>,
    pub(super) relays: Vec<RelayGrant>,
}

pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    acls: Option<&ObjectProp<'a>>,
    grants: Option<&ObjectProp<'a>>,
) -> Read {
    let (mut rules, mut relays) = (Vec::new(), Vec::new());
    for object in objects(reader, acls, MAX_RULES) {
        rules.extend(acl(reader, defined, object));
    }
    for object in objects(reader, grants, MAX_RULES - rules.len()) {
        let (rule, relay) = grant(reader, defined, object);
        rules.extend(rule);
        relays.extend(relay);
    }
    Read { rules, relays }
}

fn objects<'v, 'a>(
    reader: &mut Reader<'a>,
    property: Option<&'v ObjectProp<'a>>,
    most: usize,
) -> Vec<&'v Object<'a>> {
    property.map(|property| reader.objects(property, "a rule", most)).unwrap_or_default()
}

fn acl<'a>(reader: &mut Reader<'a>, defined: &Definitions, object: &Object<'a>) -> Option<Rule> {
    let before = reader.faults();
    let [action, src, dst, proto] =
        reader.fields(object, ["action", "src", "dst", "proto"], REFUSED_IN_ACLS);
    for (field, name) in [(action, "action"), (src, "src"), (dst, "dst")] {
        if field.is_none() {
            reader.refuse(object.range.start, format!("the rule lacks {name:?}"));
        }
    }
    let action = action.and_then(|action| reader.string(action, read_action));
    let protocols = match proto {
        Some(proto) => reader.string(proto, selector::protocols),
        None => Some(Protocols::Default),
    };
    let sources = src.map_or_else(Vec::new, |src| sources(reader, defined, src));
    // With a faulty protocol, ports are read as if it had any.
    let read = |text: &str| selector::destination(text, protocols.unwrap_or(Protocols::Default));
    let mut destinations = Vec::new();
    for ((selector, services), at) in
        dst.map_or_else(Vec::new, |dst| reader.some_strings(dst, MAX_SELECTORS, read))
    {
        check_destination(reader, defined, &sources, &selector, at);
        let services = services.into_iter().map(|service| meant(service, action)).collect();
        destinations.push(Destination { selector, services });
    }
    let (line, span) = reader.place(object);
    (reader.faults() == before).then_some(Rule {
        line,
        span,
        action: action?,
        sources,
        destinations,
    })
}

/// A grant is a rule, or has nodes relay, or both.
fn grant<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    object: &Object<'a>,
) -> (Option<Rule>, Option<RelayGrant>) {
    let before = reader.faults();
    let [action, src, dst, ip, app] =
        reader.fields(object, ["action", "src", "dst", "ip", "app"], REFUSED_IN_GRANTS);
    let nothing = if app.is_some() { None } else { Some((ip, "ip")) };
    for (field, name) in [(src, "src"), (dst, "dst")].into_iter().chain(nothing) {
        if field.is_none() {
            reader.refuse(object.range.start, format!("the grant lacks {name:?}"));
        }
    }
    let action = match action {
        Some(action) => reader.string(action, read_action),
        None => Some(Action::Accept),
    };
    let relays = app.is_some_and(|app| app::read(reader, app, action));
    let sources = src.map_or_else(Vec::new, |src| sources(reader, defined, src));
    let services =
        ip.map_or_else(Vec::new, |ip| reader.some_strings(ip, MAX_SELECTORS, selector::service));
    let services: Arc<[Service]> =
        services.into_iter().map(|(service, _)| meant(service, action)).collect();
    let mut destinations = Vec::new();
    for (selector, at) in
        dst.map_or_else(Vec::new, |dst| reader.some_strings(dst, MAX_SELECTORS, grant_destination))
    {
        check_destination(reader, defined, &sources, &selector, at);
        if relays
            && let Selector::Autogroup(group @ (Autogroup::Own | Autogroup::Internet)) = selector
        {
            reader.refuse(at, app::no_relay(group));
        }
        destinations.push(Destination { selector, services: Arc::clone(&services) });
    }
    if reader.faults() != before {
        return (None, None);
    }
    let (line, span) = reader.place(object);
    let relay = relays.then(|| RelayGrant {
        line,
        sources: sources.clone(),
        relays: destinations.iter().map(|to| to.selector.clone()).collect(),
    });
    let rule = action.filter(|_| ip.is_some());
    (rule.map(|action| Rule { line, span, action, sources, destinations }), relay)
}

/// A destination of a grant; the ports of an `acls` entry are the likeliest mistake.
fn grant_destination(text: &str) -> Result<Selector, Fault> {
    selector::selector(text).map_err(|wrong| match selector::split_ports(text) {
        Ok(((whom, _), (ports, at))) if selector::selector(whom).is_ok() => {
            Fault { at: at - 1, reason: format!("ports go into \"ip\", as in \"tcp:{ports}\"") }
        }
        Ok(_) | Err(_) => wrong,
    })
}

/// What a rule's service means. Whoever denies port 22 does not speak of ICMP, although whoever
/// accepts it lets ping through as well.
fn meant(service: Service, action: Option<Action>) -> Service {
    let of_ports = service.protocols == Protocols::Default && service.ports != PortRange::ALL;
    match action {
        Some(Action::Deny) if of_ports => Service { protocols: Protocols::Ported, ..service },
        _ => service,
    }
}

fn read_action(text: &str) -> Result<Action, Fault> {
    match text {
        "accept" => Ok(Action::Accept),
        "deny" => Ok(Action::Deny),
        _ => fault(0, format!("the action {text:?} is neither \"accept\" nor \"deny\"")),
    }
}

fn sources<'a>(
    reader: &mut Reader<'a>,
    defined: &Definitions,
    property: &ObjectProp<'a>,
) -> Vec<Selector> {
    let mut sources = Vec::new();
    for (selector, at) in reader.some_strings(property, MAX_SELECTORS, selector::selector) {
        let only_to = match selector {
            Selector::Autogroup(Autogroup::Own) => Some("autogroup:self"),
            Selector::Autogroup(Autogroup::Internet) => Some("autogroup:internet"),
            _ => None,
        };
        if let Some(name) = only_to {
            reader.refuse(at, format!("{name} can only be a destination"));
        }
        if let Some(reason) = defined.undefined(&selector) {
            reader.refuse(at, reason);
        }
        sources.push(selector);
    }
    sources
}

fn check_destination(
    reader: &mut Reader<'_>,
    defined: &Definitions,
    sources: &[Selector],
    selector: &Selector,
    at: usize,
) {
    if let Some(reason) = defined.undefined(selector) {
        reader.refuse(at, reason);
    }
    let of_users = |source: &Selector| {
        matches!(
            source,
            Selector::User(_) | Selector::Group(_) | Selector::Autogroup(Autogroup::Member)
        )
    };
    if *selector == Selector::Autogroup(Autogroup::Own) && !sources.iter().all(of_users) {
        reader.refuse(
            at,
            "autogroup:self needs sources that are users, groups or autogroup:member: others have \
             no devices of their own",
        );
    }
}
