//! A plan that was changed step by step is the plan that is made at once, and tells whom a change
//! concerns.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use policy::{Action, Filter, NodeName, Plan, Prefix, ProtocolPorts, RuleId};
use world::World;

/// A filter in one form, whatever the order in which it was made.
type Said = BTreeSet<(RuleId, Action, Vec<Prefix>, Vec<Prefix>, Vec<ProtocolPorts>)>;

fn said(filter: &Filter, rule: impl Fn(RuleId) -> RuleId) -> Said {
    let flow = |flow: &policy::FilterRule| {
        (
            rule(filter.rules()[flow.rule.0 as usize]),
            flow.action,
            filter.sources(flow).prefixes().to_vec(),
            filter.destinations(flow).prefixes().to_vec(),
            filter.services(flow).to_vec(),
        )
    };
    filter.flows().iter().map(flow).collect()
}

fn all(plan: &Plan, rule: impl Fn(RuleId) -> RuleId + Copy) -> BTreeMap<NodeName, Said> {
    plan.filters().map(|(name, filter)| (name.clone(), said(&filter, rule))).collect()
}

/// By position in the document: ids differ between plans.
fn by_position(plan: &Plan) -> BTreeMap<NodeName, Said> {
    all(plan, |id| RuleId(u32::try_from(plan.rule(id).unwrap().0).unwrap()))
}

#[test]
fn step_by_step_is_as_good_as_at_once() {
    let (mut told, mut needless) = (0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        let mut sections = world.document();
        let mut plan = Plan::new(sections.parse(), &world.nodes());
        for step in 0..12 {
            let before = all(&plan, |id| id);
            let nodes = plan.to_nodes();
            let what = world.random_below(5);
            let mut itself = None;
            let changed = match what {
                0 | 1 => {
                    let Some(node) = world.node(&nodes) else { continue };
                    itself = Some(node.name.clone());
                    let mut changed = plan.set_node(node).unwrap();
                    changed.extend(itself.clone());
                    changed
                }
                2 => match nodes.iter().next() {
                    Some(node) => plan.remove_node(&node.name),
                    None => continue,
                },
                3 => {
                    let at = world.random_below(sections.acls.len() + 1);
                    if world.random_below(2) == 0 || at == sections.acls.len() {
                        sections.acls.insert(at, world.acl());
                    } else {
                        sections.acls.remove(at);
                    }
                    plan.set_document(sections.parse())
                }
                _ => {
                    sections.definitions = world.definitions();
                    if !sections.grants.is_empty() {
                        sections.grants.rotate_left(1);
                    }
                    plan.set_document(sections.parse())
                }
            };
            let say = || format!("seed {seed}, step {step} ({what})\n{}", sections.text());
            let after = all(&plan, |id| id);
            for (name, filter) in &after {
                let differs = before.get(name) != Some(filter);
                assert!(!differs || changed.contains(name), "{name} changed unsaid, {}", say());
                if what <= 2 && changed.contains(name) && Some(name) != itself.as_ref() {
                    told += 1;
                    needless += u32::from(!differs);
                }
            }
            let at_once = Plan::new(sections.parse(), &plan.to_nodes());
            assert_eq!(by_position(&plan), by_position(&at_once), "{}", say());
            assert_eq!(
                said(&plan.everything(), |id| RuleId(
                    u32::try_from(plan.rule(id).unwrap().0).unwrap()
                )),
                said(&at_once.everything(), |id| id),
                "everything, {}",
                say()
            );
        }
    }
    // A party that empties in the same step as another comes to a node may be told of in vain.
    assert!(told > 500 && needless * 100 <= told, "{needless} of {told} told in vain");
}

#[test]
fn a_change_concerns_only_whom_it_should() {
    let document = policy::Document::parse(
        r#"{ "tagOwners": { "tag:a": [], "tag:b": [], "tag:c": [] },
             "acls": [ { "action": "accept", "src": ["tag:a"], "dst": ["tag:b:22"] },
                       { "action": "accept", "src": ["tag:c"], "dst": ["tag:c:22"] } ] }"#,
    )
    .unwrap();
    let nodes = policy::Nodes::parse(
        r#"{ "nodes": [ { "name": "a1", "tags": ["tag:a"], "addresses": ["10.0.0.1"] },
                        { "name": "a2", "tags": ["tag:a"], "addresses": ["10.0.0.2"] },
                        { "name": "b1", "tags": ["tag:b"], "addresses": ["10.0.0.3"] },
                        { "name": "c1", "tags": ["tag:c"], "addresses": ["10.0.0.4"] } ] }"#,
    )
    .unwrap();
    let mut plan = Plan::new(document.clone(), &nodes);
    let names = |changed: BTreeSet<NodeName>| {
        changed.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let a1 = nodes.get(&NodeName::parse("a1").unwrap()).unwrap().clone();
    assert_eq!(names(plan.remove_node(&a1.name)), "b1");
    assert_eq!(names(plan.set_node(a1.clone()).unwrap()), "a1 b1");
    assert_eq!(names(plan.set_node(a1).unwrap()), "");
    let mut other = nodes.get(&NodeName::parse("b1").unwrap()).unwrap().clone();
    other.addresses.push("10.0.0.9".parse().unwrap());
    assert_eq!(names(plan.set_node(other.clone()).unwrap()), "a1 a2 b1");
    other.name = NodeName::parse("b2").unwrap();
    assert!(plan.set_node(other).is_err());

    // A rule before the others: those keep their ids, so nobody else hears of it.
    let text = r#"{ "tagOwners": { "tag:a": [], "tag:b": [], "tag:c": [] },
             "acls": [ { "action": "deny", "src": ["10.0.0.4"], "dst": ["tag:c:80"] },
                       { "action": "accept", "src": ["tag:a"], "dst": ["tag:b:22"] },
                       { "action": "accept", "src": ["tag:c"], "dst": ["tag:c:22"] } ] }"#;
    assert_eq!(names(plan.set_document(policy::Document::parse(text).unwrap())), "c1");
    assert_eq!(names(plan.set_document(document)), "c1");
}
