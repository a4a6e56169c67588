//! What documents are read, and what is said of the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use policy::{Document, Packet, PortRange, Protocols, compile, render};

fn errors(text: &str) -> Vec<String> {
    let errors = Document::parse(text).expect_err("the document should be refused");
    errors.iter().map(ToString::to_string).collect()
}

/// The errors of one rule with this `src` and `dst`, without their places.
fn rule_errors(src: &str, dst: &str, rest: &str) -> Vec<String> {
    let text =
        format!("{{\"acls\":[{{\"action\":\"accept\",\"src\":[{src}],\"dst\":[{dst}]{rest}}}]}}");
    match Document::parse(&text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.reason).collect(),
    }
}

#[test]
fn reads_comments_trailing_commas_and_every_form() {
    let text = r#"
// The office.
{
  "acls": [
    { /* SSH and web */ "action": "accept", "src": ["10.0.0.0/24", "fd00::/8", "10.0.0.7", "*"],
      "dst": ["10.0.0.2:22,80-90", "[fd00::2]:443", "fd00::/8:*", "*:*"], "proto": "tcp" },
    { "action": "accept", "src": ["*"], "dst": ["10.0.0.9:53"], },
  ],
}"#;
    let document = Document::parse(text).unwrap();
    let [first, second] = document.rules() else {
        panic!("two rules");
    };
    assert_eq!((first.line, second.line), (5, 7));
    assert_eq!(first.sources.len(), 4);
    assert_eq!(
        first.destinations[0].ports,
        [PortRange { first: 22, last: 22 }, PortRange { first: 80, last: 90 },]
    );
    assert_eq!(second.protocols, Protocols::Default);
}

#[test]
fn a_rule_without_a_protocol_means_tcp_udp_and_icmp() {
    let text = r#"{"acls":[{"action":"accept","src":["10.0.0.1"],"dst":["10.0.0.2:53"]}]}"#;
    let compiled = compile(&Document::parse(text).unwrap()).unwrap();
    let accepted = |protocol, port| {
        compiled
            .find(&Packet {
                source: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.2".parse().unwrap(),
                protocol,
                port,
            })
            .is_some()
    };
    assert!(accepted(6, 53) && accepted(17, 53) && accepted(1, 0));
    assert!(!accepted(6, 54) && !accepted(132, 53) && !accepted(47, 0));
}

#[test]
fn all_errors_of_a_file_are_reported_in_order() {
    let text = "{
  \"groups\": {},
  \"acls\": [
    { \"action\": \"drop\", \"src\": [\"10.0.0.1/24\"], \"dst\": [\"é\", \"10.0.0.2:22,x\"] },
    { \"action\": \"accept\", \"dst\": [\"*:*\"], \"via\": 1 },
  ],
}";
    assert_eq!(
        errors(text),
        [
            "2:3: \"groups\" is not supported yet",
            "4:17: the action \"drop\" is neither \"accept\" nor \"deny\"",
            "4:34: 10.0.0.1/24 has bits set beyond its length: write 10.0.0.0/24 for the prefix, or \
         10.0.0.1 for the host",
            "4:58: \"é\" names no ports: write é:22 or é:*",
            "4:75: \"x\" is not a port, a range of ports or \"*\": write 22, 80-90 or *",
            "5:5: the rule lacks \"src\"",
            "5:43: unknown key \"via\"",
        ]
    );
}

#[test]
fn rendering_points_at_the_place() {
    let text = "{\n\t\"acls\": 7 }";
    let errors = Document::parse(text).unwrap_err();
    assert_eq!(
        render("policy.hujson", text, &errors),
        "policy.hujson:2:10: \"acls\" is a list, not a number\n   \"acls\": 7 }\n           ^\n"
    );
}

#[test]
fn refuses_what_is_not_supported_by_name() {
    for (src, dst, rest, reason) in [
        ("\"group:dev\"", "\"*:*\"", "", "groups are not supported yet"),
        ("\"tag:web\"", "\"*:*\"", "", "tags are not supported yet"),
        ("\"autogroup:member\"", "\"*:*\"", "", "autogroups are not supported yet"),
        ("\"a@example.com\"", "\"*:*\"", "", "users are not supported yet"),
        ("\"10.0.0.1-10.0.0.9\"", "\"*:*\"", "", "address ranges are not supported yet"),
        ("\"server\"", "\"*:*\"", "", "names from \"hosts\" are not supported yet"),
        ("\"*\"", "\"tag:web:80\"", "", "tags are not supported yet"),
        ("\"*\"", "\"fd00::2:443\"", "", "write [address]:ports"),
        ("\"*\"", "\"fd00::2\"", "", "write [address]:ports"),
        ("\"*\"", "\"[10.0.0.2]:1\"", "", "only an IPv6 address"),
        ("\"*\"", "\"10.0.0.2:90-80\"", "", "ends before it begins"),
        ("\"*\"", "\"10.0.0.2:070\"", "", "is not a port"),
        ("\"*\"", "\"10.0.0.2:65536\"", "", "is not a port"),
        ("\"10.0.0.0/33\"", "\"*:*\"", "", "write 0 to 32"),
        ("\"::ffff:10.0.0.1\"", "\"*:*\"", "", "write 10.0.0.1"),
        ("\"*\"", "\"*:22\"", ",\"proto\":\"icmp\"", "has no ports"),
        ("\"*\"", "\"*:*\"", ",\"proto\":\"256\"", "unknown protocol"),
        ("\"*\"", "\"*:*\"", ",\"proto\":6", "\"proto\" is a string, not a number"),
        ("\"*\"", "\"*:*\"", ",\"src\":[]", "given twice"),
        ("", "\"*:*\"", "", "is empty"),
        ("1", "\"*:*\"", "", "expected a string, not a number"),
    ] {
        let errors = rule_errors(src, dst, rest);
        assert!(
            errors.iter().any(|error| error.contains(reason)),
            "{src} {dst} {rest}: expected {reason:?}, got {errors:?}"
        );
    }
}

#[test]
fn refuses_documents_that_say_nothing() {
    for (text, reason) in [
        ("", "1:1: the document is empty"),
        ("[]", "1:1: expected an object, not a list"),
        ("{}", "1:1: \"acls\" is missing"),
        ("{ \"acls\": [] ", "not HuJSON"),
        ("{ 'acls': [] }", "not HuJSON"),
    ] {
        let errors = errors(text);
        assert!(errors[0].contains(reason), "{text}: {errors:?}");
    }
    assert!(Document::parse("{ \"acls\": [] }").is_ok());
}

#[test]
fn a_family_never_borrows_the_others_rules() {
    let text = r#"{"acls":[{"action":"accept","src":["::/0"],"dst":["*:*"]}]}"#;
    let compiled = compile(&Document::parse(text).unwrap()).unwrap();
    let found = |source: &str| {
        compiled.find(&Packet {
            source: source.parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: 6,
            port: 1,
        })
    };
    assert!(found("fd00::1").is_some());
    assert!(found("10.0.0.1").is_none());
}

#[test]
fn refuses_a_policy_that_is_too_large() {
    let rule = r#"{"action":"accept","src":["*"],"dst":["*:*"]}"#;
    let text = format!("{{\"acls\":[{}]}}", vec![rule; policy::MAX_RULES + 1].join(","));
    assert!(errors(&text)[0].contains("16385 rules, more than 16384"));
}
