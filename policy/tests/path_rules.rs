//! By which kinds of path the packets of two nodes may go.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use policy::{Document, NodeName, Nodes, Plan};
use proto::control::PathKinds;
use world::World;

const NODES: &str = r#"{ "nodes": [
    { "name": "laptop", "user": "alice@x", "addresses": ["100.64.0.1", "fd7a::1"] },
    { "name": "phone", "user": "bob@x", "addresses": ["100.64.0.2", "fd7a::2"] },
    { "name": "web", "tags": ["tag:web"], "addresses": ["100.64.0.3"], "routes": ["10.1.0.0/16"] },
    { "name": "db", "tags": ["tag:db"], "addresses": ["100.64.0.4"] },
] }"#;

fn document(paths: &str) -> String {
    format!(
        r#"{{ "tagOwners": {{ "tag:web": [], "tag:db": [] }}, "groups": {{ "group:a": ["alice@x"] }},
            "hosts": {{ "lab": "10.1.0.0/16" }}, "acls": [], "paths": [{paths}] }}"#
    )
}

/// What is between any two nodes, both ways.
fn between(plan: &Plan) -> BTreeMap<(NodeName, NodeName), PathKinds> {
    let names: Vec<_> = plan.nodes().map(|node| node.name.clone()).collect();
    let pairs = names.iter().flat_map(|one| names.iter().map(move |other| (one, other)));
    let pairs = pairs.filter(|(one, other)| one != other);
    pairs.map(|(a, b)| ((a.clone(), b.clone()), plan.path_kinds(a, b))).collect()
}

/// What is forbidden somehow, each pair once.
fn limited(paths: &str) -> String {
    let document = Document::parse(&document(paths)).unwrap();
    let plan = Plan::new(document, &Nodes::parse(NODES).unwrap());
    assert_eq!(plan.has_path_rules(), !paths.is_empty());
    let limited = between(&plan).into_iter().filter(|((a, b), kinds)| a < b && !kinds.is_all());
    limited.map(|((a, b), kinds)| format!("{a}-{b}: {kinds}")).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_rule_is_between_its_sources_and_its_destinations_either_way() {
    assert_eq!(limited(""), "");
    let one = r#"{ "src": ["group:a"], "dst": ["tag:db"], "use": ["relay", "peer-relay"] }"#;
    assert_eq!(limited(one), "db-laptop: peer-relay or relay");
    let users =
        r#"{ "src": ["tag:web", "tag:db"], "dst": ["autogroup:member"], "use": ["direct"] }"#;
    assert_eq!(
        limited(users),
        "db-laptop: direct; db-phone: direct; laptop-web: direct; phone-web: direct"
    );
    // By any address of a node; what is behind one is not the node.
    let by_address = r#"{ "src": ["fd7a::/64"], "dst": ["100.64.0.4"], "use": ["relay"] }"#;
    assert_eq!(limited(by_address), "db-laptop: relay; db-phone: relay");
    assert_eq!(limited(r#"{ "src": ["*"], "dst": ["lab"], "use": ["relay"] }"#), "");
    let among = r#"{ "src": ["100.64.0.1-100.64.0.2"], "dst": ["*"], "use": ["direct"] }"#;
    assert_eq!(limited(among).matches("direct").count(), 5);
}

#[test]
fn the_first_rule_that_speaks_of_a_pair_decides() {
    let exception = r#"{ "src": ["tag:web"], "dst": ["tag:db"], "use": ["direct", "relay"] }"#;
    let all = r#"{ "src": ["*"], "dst": ["tag:web", "tag:db"], "use": ["relay"] }"#;
    let rest = "laptop-web: relay; phone-web: relay";
    assert_eq!(
        limited(&format!("{exception}, {all}")),
        format!("db-laptop: relay; db-phone: relay; db-web: direct or relay; {rest}")
    );
    assert!(limited(&format!("{all}, {exception}")).contains("db-web: relay;"));
    let free = r#"{ "src": ["*"], "dst": ["alice@x"], "use": ["direct", "peer-relay", "relay"] }"#;
    assert_eq!(
        limited(&format!("{free}, {all}")),
        "db-phone: relay; db-web: relay; phone-web: relay"
    );
}

#[test]
fn all_that_is_wrong_is_said_with_its_place() {
    let text = r#"{ "acls": [], "paths": [
  { "src": ["*"], "dst": ["tag:no"], "use": [] },
  { "src": ["autogroup:internet"], "dst": ["autogroup:self"], "use": ["pigeon", "relay", "relay"] },
  { "src": ["10.0.0.1:22"], "use": "relay", "action": "accept" },
] }"#;
    let errors = Document::parse(text).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            r#"2:28: tag:no is not defined: add it to "tagOwners""#,
            "2:45: \"use\" is empty: it would leave no path; to part nodes, accept no flow between them",
            "3:14: a path leads from node to node: what is outside the network has none",
            "3:45: autogroup:self is another for each source: name users, groups or tags",
            r#"3:72: "pigeon" is no kind of path: there are "direct", "peer-relay", "relay""#,
            r#"3:91: "relay" is given twice"#,
            r#"4:3: the rule lacks "dst""#,
            r#"4:22: a path has no ports: write "10.0.0.1""#,
            r#"4:36: "use" is a list, not a string"#,
            r#"4:45: "action" is not supported: what "use" does not list is forbidden"#,
        ]
    );
    let rule = r#"{ "src": ["*"], "dst": ["*"], "use": ["relay"] }"#;
    let many = document(&vec![rule; policy::MAX_PATH_RULES + 1].join(","));
    assert!(Document::parse(&many).unwrap_err()[0].reason.contains("more than 1024"));
}

#[test]
fn a_plan_means_what_the_document_says_however_it_came_to_be() {
    let (mut limited, mut changes) = (0, 0);
    for seed in 0..150 {
        let mut world = World::new(seed);
        let mut sections = world.document();
        let mut plan = Plan::new(sections.parse(), &world.nodes());
        for step in 0..12 {
            let before = between(&plan);
            let what = world.random_below(4);
            let old = sections.clone();
            match what {
                0 => match world.node(&plan.to_nodes()) {
                    // Whose paths to it are others is seen by who knows the pair.
                    Some(node) => drop(plan.set_node(node).unwrap()),
                    None => continue,
                },
                1 if step % 4 == 0 => {
                    let first = plan.nodes().next().map(|node| node.name.clone());
                    first.iter().for_each(|name| drop(plan.remove_node(name)));
                }
                1 => sections.definitions = world.definitions(),
                _ => {
                    let at = world.random_below(sections.paths.len() + 1);
                    if world.random_below(3) > 0 || at == sections.paths.len() {
                        // Far behind, too: in another word of bits.
                        let count = if world.random_below(9) == 0 { 70 } else { 1 };
                        for _ in 0..count {
                            sections.paths.insert(at, world.path_rule());
                        }
                    } else {
                        sections.paths.remove(at);
                    }
                }
            }
            let document = sections.parse();
            let concerned = plan.set_document(document.clone());
            let say = || format!("seed {seed}, step {step} ({what})\n{}", sections.text());
            let (nodes, after) = (plan.to_nodes(), between(&plan));
            for ((a, b), kinds) in &after {
                let (one, other) = (nodes.get(a).unwrap(), nodes.get(b).unwrap());
                let rule = document.path_rule(&nodes, one, other);
                let meant = rule.map(|rule| rule.kinds).unwrap_or_default();
                assert_eq!(*kinds, meant, "{a} and {b}, {}", say());
                limited += u32::from(!meant.is_all());
                if what > 1 && before.get(&(a.clone(), b.clone())) != Some(kinds) {
                    assert!(concerned.contains(a) && concerned.contains(b), "{a}-{b}, {}", say());
                }
            }
            // What another plan tells of the change is the change.
            let one = Plan::new(old.parse(), &nodes);
            let mut told = between(&one);
            for change in one.path_changes(&plan) {
                changes += 1;
                let (nodes, others) = (&change.nodes, &change.others);
                let pairs = nodes.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
                let both =
                    pairs.flat_map(|(a, b)| [(a.clone(), b.clone()), (b.clone(), a.clone())]);
                // Of nodes that are all alike, each pair is there twice.
                let pairs: BTreeSet<_> = both.filter(|(a, b)| a != b).collect();
                for pair in pairs {
                    let old = told.insert(pair, change.new);
                    assert_eq!(old, Some(change.old), "{}", say());
                }
            }
            assert_eq!(told, after, "{}", say());
        }
    }
    assert!(limited > 1_000 && changes > 100, "{limited} pairs limited, {changes} changes");
}

#[test]
fn only_those_are_concerned_by_a_change_whose_paths_are_others() {
    let of = |paths: &str| Document::parse(&document(paths)).unwrap();
    let one = r#"{ "src": ["tag:web"], "dst": ["tag:db"], "use": ["relay"] }"#;
    let mut plan = Plan::new(of(""), &Nodes::parse(NODES).unwrap());
    let mut changed = |paths: &str| {
        let names = plan.set_document(of(paths));
        names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(changed(one), "db web");
    assert_eq!(changed(one), "");
    let shadowed = r#"{ "src": ["*"], "dst": ["tag:db"], "use": ["relay"] }"#;
    assert_eq!(changed(&format!("{one}, {shadowed}")), "db laptop phone");
    assert_eq!(changed(shadowed), "", "the same by another rule");
}
