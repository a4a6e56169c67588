//! Questions about single flows, and the tests that a document has of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use policy::{Document, Failure, Nodes, Query, try_tests};

const DOCUMENT: &str = r#"{
  "groups": { "group:dev": ["alice@example.com", "bob@"] },
  "hosts": { "printer": "10.0.0.9", "lab": "10.1.0.0/16" },
  "tagOwners": { "tag:web": ["group:dev"], "tag:db": [] },
  "acls": [
    { "action": "accept", "src": ["group:dev"], "dst": ["tag:web:22,80"] },
    { "action": "deny", "src": ["bob@"], "dst": ["tag:web:22"] },
    { "action": "accept", "src": ["tag:web"], "dst": ["tag:db:5432", "printer:9100"], "proto": "tcp" },
  ],
"#;

const NODES: &str = r#"{ "nodes": [
  { "name": "laptop", "user": "alice@example.com", "addresses": ["100.64.0.1", "fd7a::1"] },
  { "name": "web1", "tags": ["tag:web"], "addresses": ["100.64.0.2", "fd7a::2"] },
  { "name": "web2", "tags": ["tag:web"], "addresses": ["fd7a::3"] },
] }"#;

fn document(tests: &str) -> Document {
    let text = format!("{DOCUMENT} \"tests\": [{tests}] }}");
    Document::parse(&text).unwrap_or_else(|e| panic!("{}", policy::render("d", &text, &e)))
}

#[test]
fn questions_are_read_in_every_form() {
    let nodes = Nodes::parse(NODES).unwrap();
    let document = document("");
    for (source, destination, expected) in [
        ("10.0.0.1", "10.0.0.2:80", "10.0.0.1>10.0.0.2/6:80"),
        ("fd00::1", "[fd00::2]:443/udp", "fd00::1>fd00::2/17:443"),
        ("[fd00::1]", "fd00::2/icmp", "fd00::1>fd00::2/58:0"),
        ("10.0.0.1", "printer/icmp", "10.0.0.1>10.0.0.9/1:0"),
        ("10.0.0.1", "printer:*/47", "10.0.0.1>10.0.0.9/47:0"),
        ("laptop", "web1:22", "100.64.0.1>100.64.0.2/6:22 fd7a::1>fd7a::2/6:22"),
        (
            "alice@example.com",
            "tag:web:22/sctp",
            "100.64.0.1>100.64.0.2/132:22 fd7a::1>fd7a::2/132:22 fd7a::1>fd7a::3/132:22",
        ),
        (
            "group:dev",
            "tag:web/gre",
            "100.64.0.1>100.64.0.2/47:0 fd7a::1>fd7a::2/47:0 fd7a::1>fd7a::3/47:0",
        ),
    ] {
        let query = Query::parse(source, destination).unwrap();
        let packets = query.packets(&document, &nodes).unwrap();
        let said: Vec<String> = packets
            .iter()
            .map(|p| format!("{}>{}/{}:{}", p.source, p.destination, p.protocol, p.port))
            .collect();
        assert_eq!(said.join(" "), expected, "{source} {destination}");
    }
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let nodes = Nodes::parse(NODES).unwrap();
    let document = document("");
    for (source, destination, reason) in [
        ("10.0.0.1", "10.0.0.2", "names no port"),
        ("10.0.0.1", "fd00::2", "names no port"),
        ("10.0.0.1", "tag:web", "names no port"),
        ("10.0.0.1", "10.0.0.2:x", "is not a port"),
        ("10.0.0.1", "10.0.0.2:*", "is not a port"),
        ("10.0.0.1", "10.0.0.2:8/icmp", "has no ports"),
        ("10.0.0.1", "10.0.0.2:8/tpc", "unknown protocol"),
        ("10.0.0.300", "10.0.0.2:8", "is not an address"),
        ("10.0.0.1", "10.0.0.0/8:22", "10.0.0.0/8 is more than one address"),
        ("fd00::1", "[fd00::/64]:22", "fd00::/64 is more than one address"),
        ("10.0.0.1", "lab:8", "lab is 10.1.0.0/16: name one address of it"),
        ("10.0.0.1", "web9:8", "neither \"hosts\" nor the nodes have web9"),
        ("carol@", "web1:8", "no node is carol@"),
        ("*", "web1:8", "* is more than one address"),
        ("10.0.0.1", "web2:8", "10.0.0.1 and web2 have no addresses of the same family"),
    ] {
        let query = Query::parse(source, destination);
        let answer = query.and_then(|query| query.packets(&document, &nodes));
        let error = answer.expect_err(reason).to_string();
        assert!(error.contains(reason), "{source} {destination}: {error}");
    }
}

#[test]
fn tests_about_people_need_no_nodes() {
    let tests = r#"
      { "src": "alice@example.com", "accept": ["tag:web:22", "tag:web:80"], "deny": ["tag:db:5432"] },
      { "src": "bob@", "accept": ["tag:web:80"], "deny": ["tag:web:22"] },
      { "src": "tag:web", "proto": "tcp", "accept": ["printer:9100", "10.0.0.9:9100"] },
      { "src": "alice@example.com", "proto": "icmp", "accept": ["tag:web:0"], "deny": ["printer:0"] },
      { "src": "tag:web", "proto": "udp", "deny": ["tag:db:5432"] }"#;
    for nodes in ["{ \"nodes\": [] }", NODES] {
        let outcomes = try_tests(&document(tests), &Nodes::parse(nodes).unwrap()).unwrap();
        assert_eq!(outcomes.len(), 10);
        assert!(outcomes.iter().all(|outcome| outcome.failure.is_none()), "{outcomes:#?}");
    }
}

#[test]
fn failures_name_what_decided() {
    let tests = r#"
      { "src": "bob@",
        "accept": ["tag:web:22",
                   "tag:db:1"],
        "deny": ["tag:web:80", "nowhere:1"] }"#;
    let outcomes = try_tests(&document(tests), &Nodes::default()).unwrap();
    let failures: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome.failure.as_ref().unwrap() {
            Failure::NoFlow(reason) => (outcome.expectation.line, reason.clone()),
            Failure::Decided { rule, .. } => {
                (outcome.expectation.line, format!("{:?}", rule.map(|rule| rule.0)))
            }
        })
        .collect();
    let expected = [
        (12, "Some(1)".to_owned()),
        (13, "None".to_owned()),
        (14, "Some(0)".to_owned()),
        (14, "neither \"hosts\" nor the nodes have nowhere".to_owned()),
    ];
    assert_eq!(failures, expected);
}
