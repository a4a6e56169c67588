//! What files of nodes are read, and what is said of the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use policy::{NodeIdentity, NodeName, Nodes};

fn errors(text: &str) -> Vec<String> {
    let errors = Nodes::parse(text).expect_err("the file should be refused");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_users_tags_and_routes() {
    let text = r#"{ "nodes": [
  // A person's.
  { "name": "laptop", "user": "alice@example.com", "addresses": ["100.64.0.1", "fd7a::1"] },
  { "name": "web1", "tags": ["tag:web"], "addresses": ["100.64.0.2"], "routes": ["10.1.0.0/16"] },
] }"#;
    let nodes = Nodes::parse(text).unwrap();
    assert_eq!(nodes.len(), 2);
    let web = nodes.get(&NodeName::parse("web1").unwrap()).unwrap();
    assert!(matches!(&web.identity, NodeIdentity::Tags(tags) if tags.len() == 1));
    assert_eq!(web.routes[0].to_string(), "10.1.0.0/16");
    let laptop = nodes.with_address("fd7a::1".parse().unwrap()).unwrap();
    assert_eq!(laptop.name.as_str(), "laptop");
}

#[test]
fn all_errors_of_a_file_are_reported_in_order() {
    let text = r#"{ "nodes": [
  { "name": "10.0.0.1", "user": "alice", "addresses": ["10.0.0.0/8"] },
  { "name": "a", "user": "b@", "tags": ["tag:x"], "addresses": [] },
  { "name": "b", "addresses": ["10.0.0.1"], "routes": ["10.1.0.1/16"], "colour": 1 },
  { "name": "c", "user": "b@", "addresses": ["10.0.0.2"] },
  { "name": "c", "user": "b@", "addresses": ["10.0.0.3"] },
  { "name": "d", "user": "b@", "addresses": ["10.0.0.2"] },
] }"#;
    assert_eq!(
        errors(text),
        [
            "2:14: \"10.0.0.1\" is not the name of a node: use letters, digits, \"-\", \"_\", \".\"",
            "2:34: \"alice\" is not a user: write \"name@domain\", or \"name@\"",
            "2:57: \"10.0.0.0/8\" is not an address",
            "3:3: the node has a user and tags: a node with tags is nobody's, so drop one",
            "3:64: \"addresses\" is empty: it would match nothing",
            "4:3: the node lacks \"user\" or \"tags\"",
            "4:57: 10.1.0.1/16 has bits set beyond its length: write 10.1.0.0/16 for the prefix, \
             or 10.1.0.1 for the host",
            "4:72: unknown key \"colour\"",
            "6:3: there is a node c already: give each its own name",
            "7:3: d has the address 10.0.0.2, which c has: give each its own",
        ]
    );
    assert!(errors("{}")[0].contains("\"nodes\" is missing"));
    assert!(errors("")[0].contains("the file is empty"));
}
