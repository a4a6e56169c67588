//! Nodes hear of those that the policy lets them reach or be reached by.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::collections::BTreeSet;

use policy::{Document, NodeName, Nodes, Plan};
use world::World;

const NODES: &str = r#"{ "nodes": [
    { "name": "laptop", "user": "alice@x", "addresses": ["100.64.0.1", "fd7a::1"] },
    { "name": "phone", "user": "alice@x", "addresses": ["100.64.0.2", "fd7a::2"] },
    { "name": "web", "tags": ["tag:web"], "addresses": ["100.64.0.3", "fd7a::3"] },
    { "name": "db", "tags": ["tag:db"], "addresses": ["100.64.0.4"], "routes": ["10.1.0.0/16"] },
] }"#;

fn seen(acls: &str, from: &str) -> String {
    let tags = r#""tagOwners": { "tag:web": [], "tag:db": [] }"#;
    let document = Document::parse(&format!("{{ {tags}, \"acls\": [{acls}] }}")).unwrap();
    let plan = Plan::new(document, &Nodes::parse(NODES).unwrap());
    let from = NodeName::parse(from).unwrap();
    let names = plan.neighbours(&from);
    names.map(NodeName::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn both_ends_of_an_accept_know_of_each_other_and_nobody_else() {
    let acls = r#"{ "action": "accept", "src": ["alice@x"], "dst": ["tag:web:80"] },
                  { "action": "accept", "src": ["tag:web"], "dst": ["10.1.2.3:5432"] }"#;
    assert_eq!(seen(acls, "laptop"), "web");
    assert_eq!(seen(acls, "web"), "db laptop phone");
    assert_eq!(seen(acls, "db"), "web", "by the network behind it");
    assert_eq!(seen("", "web"), "");
    assert_eq!(seen(acls, "nobody"), "");
    let all = r#"{ "action": "accept", "src": ["*"], "dst": ["*:*"] }"#;
    assert_eq!(seen(all, "db"), "laptop phone web");
}

#[test]
fn a_deny_that_leaves_nothing_parts_them() {
    let with = |deny: &str| {
        format!(
            r#"{{ "action": "accept", "src": ["*"], "dst": ["tag:web:80"], "proto": "tcp" }},
               {{ "action": "deny", {deny} }}"#
        )
    };
    let whole = with(r#""src": ["alice@x"], "dst": ["tag:web:1-100"], "proto": "tcp""#);
    assert_eq!(seen(&whole, "web"), "db");
    assert_eq!(seen(&whole, "phone"), "");
    let other_port = with(r#""src": ["alice@x"], "dst": ["tag:web:81"], "proto": "tcp""#);
    assert_eq!(seen(&other_port, "web"), "db laptop phone");
    let other_way = with(r#""src": ["tag:web"], "dst": ["*:*"]"#);
    assert_eq!(seen(&other_way, "web"), "db laptop phone");
}

#[test]
fn knowing_of_each_other_is_mutual() {
    let mut pairs = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        let sections = world.document();
        let plan = Plan::new(sections.parse(), &world.nodes());
        for one in plan.nodes() {
            for other in plan.neighbours(&one.name) {
                pairs += 1;
                assert_ne!(other, &one.name);
                let back = plan.neighbours(other).any(|name| *name == one.name);
                assert!(back, "seed {seed}: {} knows {other}", one.name);
            }
        }
    }
    assert!(pairs > 100, "{pairs}");
}

#[test]
fn a_grant_of_relaying_is_between_its_sources_and_its_relays() {
    let grants = |grant: &str| {
        let tags = r#""tagOwners": { "tag:web": [], "tag:db": [] }"#;
        let text = format!("{{ {tags}, \"grants\": [{grant}] }}");
        let plan = Plan::new(Document::parse(&text).unwrap(), &Nodes::parse(NODES).unwrap());
        let names = ["laptop", "phone", "web", "db"];
        let pairs = names.iter().flat_map(|relay| names.iter().map(move |client| (relay, client)));
        let name = |text: &&str| NodeName::parse(text).unwrap();
        let pairs = pairs.filter(|(relay, client)| plan.relays(&name(relay), &name(client)));
        pairs.map(|(relay, client)| format!("{relay}<-{client}")).collect::<Vec<_>>().join(" ")
    };
    let relay = r#""app": { "nearwire/relay": [] }"#;
    let to_web =
        grants(&format!(r#"{{ "src": ["alice@x", "100.64.0.4"], "dst": ["tag:web"], {relay} }}"#));
    assert_eq!(to_web, "web<-laptop web<-phone web<-db");
    let everybody =
        grants(&format!(r#"{{ "src": ["*"], "dst": ["tag:db", "fd7a::3"], {relay} }}"#));
    assert_eq!(everybody, "web<-laptop web<-phone web<-db db<-laptop db<-phone db<-web");
    // What is behind a node is not the node, and flows grant no relaying.
    let behind = grants(&format!(r#"{{ "src": ["*"], "dst": ["10.1.0.0/16"], {relay} }}"#));
    assert_eq!(behind, "");
    assert_eq!(grants(r#"{ "src": ["*"], "dst": ["*"], "ip": ["*"] }"#), "");
}

#[test]
fn what_changes_in_relaying_is_told_by_relay() {
    let plan = |grants: &str| {
        let text = format!(
            r#"{{ "tagOwners": {{ "tag:web": [], "tag:db": [] }}, "grants": [{grants}] }}"#
        );
        Plan::new(Document::parse(&text).unwrap(), &Nodes::parse(NODES).unwrap())
    };
    let relay = r#""app": { "nearwire/relay": [] }"#;
    let old = plan(&format!(r#"{{ "src": ["*"], "dst": ["tag:web"], {relay} }}"#));
    let new = plan(&format!(r#"{{ "src": ["alice@x"], "dst": ["tag:web", "tag:db"], {relay} }}"#));
    let told = |old: &Plan, new: &Plan| {
        let changes = old.relay_changes(new).into_iter().map(|change| {
            let clients: Vec<_> = change.clients.iter().map(NodeName::as_str).collect();
            format!("{:?} {}: {}", change.direction, change.relay, clients.join(" "))
        });
        changes.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&old, &new), "Gained db: laptop phone; Lost web: db");
    assert_eq!(told(&new, &old), "Gained web: db; Lost db: laptop phone");
    assert_eq!(told(&old, &old), "");
    let between = |plan: &Plan, one, other| {
        let [one, other] = [one, other].map(|name| NodeName::parse(name).unwrap());
        let relays = plan.relays_between(&one, &other);
        relays.into_iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(between(&new, "laptop", "phone"), "db web");
    assert_eq!(
        (between(&new, "laptop", "db"), between(&old, "laptop", "db")),
        ("".into(), "web".into())
    );
}
