//! What documents are read, and what is said of the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use policy::{
    Action, Autogroup, Document, Packet, PortRange, Protocols, Rule, Selector, compile, render,
};

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
        Err(errors) => errors.iter().map(|error| error.reason.clone()).collect(),
    }
}

#[test]
fn reads_comments_trailing_commas_and_every_form() {
    let text = r#"
// The office.
{
  "groups": { "group:dev": ["alice@example.com", "bob@"], "group:ops@example.com": [] },
  "hosts": { "printer": "10.0.0.3", "lab": "10.1.0.0/16" },
  "tagOwners": { "tag:web": ["group:dev", "tag:web", "bob@", "autogroup:member"] },
  "acls": [
    { /* SSH and web */ "action": "accept", "src": ["10.0.0.0/24", "fd00::/8", "10.0.0.7", "*", "10.0.0.1-10.0.0.9", "lab", "tag:web", "bob@"],
      "dst": ["10.0.0.2:22,80-90", "[fd00::2]:443", "fd00::/8:*", "[fd00::1-fd00::9]:1", "printer:9", "tag:web:80", "autogroup:internet:*", "*:*"], "proto": "tcp" },
    { "action": "accept", "src": ["*"], "dst": ["10.0.0.9:53"], },
  ],
  "grants": [
    { "src": ["group:dev", "autogroup:member"], "dst": ["tag:web", "autogroup:self"], "ip": ["1-9", "icmp:*", "gre:*"] },
  ],
  "tests": [
    { "src": "bob@", "accept": ["tag:web:80"], "deny": ["some-node:22"] },
  ],
}"#;
    let document = Document::parse(text).unwrap();
    let [first, second, third] = document.rules() else {
        panic!("three rules");
    };
    assert_eq!((first.line, second.line, third.line), (8, 10, 13));
    assert_eq!(first.sources.len(), 8);
    let services = |rule: &Rule, to: usize| -> Vec<(Protocols, PortRange)> {
        rule.destinations[to].services.iter().map(|s| (s.protocols, s.ports)).collect()
    };
    let tcp = Protocols::One(6);
    assert_eq!(
        services(first, 0),
        [(tcp, PortRange::one(22)), (tcp, PortRange { first: 80, last: 90 })]
    );
    assert_eq!(services(second, 0), [(Protocols::Default, PortRange::one(53))]);
    assert_eq!(
        services(third, 0),
        [
            (Protocols::Default, PortRange { first: 1, last: 9 }),
            (Protocols::Icmp, PortRange::ALL),
            (Protocols::One(47), PortRange::ALL),
        ]
    );
    let own = &third.destinations[1].selector;
    assert_eq!(*own, Selector::Autogroup(Autogroup::Own));
    assert_eq!(document.tests()[0].expectations.len(), 2);
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
  \"groups\": { \"dev\": [], \"group:a\": [\"group:b\"], \"group:a\": [] },
  \"hosts\": { \"h\": \"10.0.0.1/24\", \"10.0.0.1\": \"10.0.0.1\" },
  \"tagOwners\": { \"tag:w\": [\"group:none\", \"10.0.0.1\"] },
  \"ssh\": [],
  \"acls\": [
    { \"action\": \"drop\", \"src\": [\"10.0.0.1/24\"], \"dst\": [\"é\", \"10.0.0.2:22,x\"] },
    { \"action\": \"accept\", \"dst\": [\"h:*\"], \"via\": 1 },
  ],
}";
    assert_eq!(
        errors(text),
        [
            "2:15: \"dev\" is not the name of a group: write \"group:name\"",
            "2:39: \"group:b\": a group holds users, not groups: name its members",
            "2:50: \"group:a\" is defined twice",
            "3:20: 10.0.0.1/24 has bits set beyond its length: write 10.0.0.0/24 for the prefix, \
             or 10.0.0.1 for the host",
            "3:34: \"10.0.0.1\" is not the name of a host: use letters, digits, \"-\", \"_\", \".\"",
            "4:29: group:none is not defined: add it to \"groups\"",
            "4:43: \"10.0.0.1\" cannot own a tag: write a user, a group, a tag or autogroup:member",
            "5:3: \"ssh\" is not supported: nearwire does not serve SSH: accept port 22",
            "7:18: the action \"drop\" is neither \"accept\" nor \"deny\"",
            "7:34: 10.0.0.1/24 has bits set beyond its length: write 10.0.0.0/24 for the prefix, \
             or 10.0.0.1 for the host",
            "7:58: \"é\" names no ports: write é:22 or é:*",
            "7:75: \"x\" is not a port, a range of ports or \"*\": write 22, 80-90 or *",
            "8:5: the rule lacks \"src\"",
            "8:43: unknown key \"via\"",
        ]
    );
}

#[test]
fn sections_that_are_not_ours_are_refused_by_name() {
    for (section, value) in [("sshTests", "[]"), ("nodeAttrs", "[]"), ("derpMap", "{}")] {
        let errors = errors(&format!("{{ \"acls\": [], \"{section}\": {value} }}"));
        let start = format!("1:15: \"{section}\" is not supported: ");
        assert!(errors.len() == 1 && errors[0].starts_with(&start), "{errors:?}");
    }
}

#[test]
fn keys_in_other_letters_are_refused_and_read() {
    let text = r#"{
  "Groups": { "group:dev": ["alice@x"] }, "Hosts": { "h": "10.0.0.1/8" },
  "ACLs": [ { "Action": "accept", "Users": ["group:dev"], "src": ["group:dev", "group:ops"], "dst": ["h:*"] } ],
  "SSH": []
}"#;
    assert_eq!(
        errors(text),
        [
            "2:3: unknown key \"Groups\": write \"groups\"",
            "2:43: unknown key \"Hosts\": write \"hosts\"",
            "2:60: 10.0.0.1/8 has bits set beyond its length: write 10.0.0.0/8 for the prefix, or \
             10.0.0.1 for the host",
            "3:3: unknown key \"ACLs\": write \"acls\"",
            "3:15: unknown key \"Action\": write \"action\"",
            "3:35: \"Users\" is not supported: it is the old name of \"src\"",
            "3:81: group:ops is not defined: add it to \"groups\"",
            "4:3: \"SSH\" is not supported: nearwire does not serve SSH: accept port 22",
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
fn what_is_behind_a_comment_is_off() {
    let text = "{ \"acls\": [\n  // off:\r {\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"*:*\"]},\n] }";
    assert_eq!(
        errors(text),
        [
            "2:10: a carriage return alone ends a line for some readers and not for others: end lines \
          by a line feed"
        ]
    );
    // Lines of Windows are lines.
    assert!(Document::parse(&text.replace('\r', "\r\n")).unwrap().rules().len() == 1);
    assert!(Document::parse(&text.replace('\r', "")).unwrap().rules().is_empty());
}

#[test]
fn however_much_is_wrong_little_is_said() {
    let bad = r#"{ "action": "accept", "src": ["?"], "dst": ["*:*"] }"#;
    let (lines, one_line) = (vec![bad; 20_000].join(",\n"), vec![bad; 5_000].join(","));
    for (rules, count) in [(&lines, 20_000), (&one_line, 5_000)] {
        let text = format!("{{ \"acls\": [{rules}], \"groups\": {{ \"?\": [] }} }}");
        let errors = Document::parse(&text).unwrap_err();
        assert_eq!((errors.len(), errors.more()), (100, count - 99));
        assert_eq!((errors[0].line, errors[0].column), (1, 43), "the first of the text");
        let shown = render("policy", &text, &errors);
        assert!(shown.len() < 40_000, "{} bytes", shown.len());
        assert!(shown.ends_with(&format!("\nand {} more errors\n", count - 99)), "{shown}");
    }
    // Nor is a reason long that quotes what is, nor the line of a file that is refused whole.
    let name = "?".repeat(1 << 20);
    let text = format!("{{ \"acls\": [], \"hosts\": {{ \"{name}\": \"{name}\" }} }}");
    let shown = render("policy", &text, &Document::parse(&text).unwrap_err());
    assert!(shown.len() < 3_000 && shown.contains("use letters, digits"), "{shown}");
    let text = "?".repeat((32 << 20) + 1);
    let shown = render("policy", &text, &Document::parse(&text).unwrap_err());
    assert!(shown.len() < 1_000 && shown.contains("more than 33554432"), "{shown}");
}

#[test]
fn refuses_what_is_not_supported_by_name() {
    for (src, dst, rest, reason) in [
        ("\"group:dev\"", "\"*:*\"", "", "group:dev is not defined"),
        ("\"tag:web\"", "\"*:*\"", "", "tag:web is not defined"),
        ("\"*\"", "\"tag:web:80\"", "", "tag:web is not defined"),
        ("\"server\"", "\"*:*\"", "", "the host \"server\" is not defined"),
        ("\"autogroup:admin\"", "\"*:*\"", "", "\"autogroup:admin\" is not supported"),
        ("\"autogroup:self\"", "\"*:*\"", "", "can only be a destination"),
        ("\"autogroup:internet\"", "\"*:*\"", "", "can only be a destination"),
        ("\"*\"", "\"autogroup:self:*\"", "", "needs sources that are users"),
        ("\"ipset:a\"", "\"*:*\"", "", "IP sets are not supported"),
        ("\"user:*@example.com\"", "\"*:*\"", "", "users by domain are not supported"),
        ("\"svc:a\"", "\"*:*\"", "", "services are not supported"),
        ("\"@example.com\"", "\"*:*\"", "", "is not a user"),
        ("\"10.0.0.9-10.0.0.1\"", "\"*:*\"", "", "ends before it begins"),
        ("\"10.0.0.9-fd00::1\"", "\"*:*\"", "", "begins in one family"),
        ("\"10.0.0.300\"", "\"*:*\"", "", "is not an address"),
        ("\"tag:\"", "\"*:*\"", "", "is not a tag"),
        ("\"*\"", "\"tag:web\"", "", "names no ports: write tag:web:22"),
        ("\"*\"", "\"*:*\"", ",\"srcPosture\":[]", "\"srcPosture\" is not supported"),
        ("\"*\"", "\"*:*\"", ",\"users\":[]", "the old name of \"src\""),
        ("\"*\"", "\"fd00::2:443\"", "", "write [address]:ports"),
        ("\"*\"", "\"fd00::2\"", "", "write [address]:ports"),
        ("\"*\"", "\"[10.0.0.2]:1\"", "", "only IPv6 addresses"),
        ("\"*\"", "\"10.0.0.2:90-80\"", "", "ends before it begins"),
        ("\"*\"", "\"10.0.0.2:070\"", "", "is not a port"),
        ("\"*\"", "\"10.0.0.2:65536\"", "", "is not a port"),
        ("\"10.0.0.0/33\"", "\"*:*\"", "", "write 0 to 32"),
        ("\"::ffff:10.0.0.1\"", "\"*:*\"", "", "write 10.0.0.1"),
        ("\"*\"", "\"*:22\"", ",\"proto\":\"icmp\"", "has no ports"),
        ("\"*\"", "\"*:*\"", ",\"proto\":\"256\"", "unknown protocol"),
        ("\"*\"", "\"*:*\"", ",\"proto\":\"TCP\"", "unknown protocol \"TCP\": write \"tcp\""),
        (
            "\"autogroup:owner\"",
            "\"*:*\"",
            "",
            "name them in a group, as \"group:owner\"; there are",
        ),
        ("\"alice\u{202e}@x\"", "\"*:*\"", "", "\"alice\\u{202e}@x\" is not a user"),
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
fn grants_and_tests_are_refused_where_they_are_wrong() {
    for (text, reason) in [
        (r#"{"grants":[{"src":["*"],"dst":["*"],"app":{}}]}"#, "1:37: \"app\" is empty"),
        (r#"{"grants":[{"src":["*"],"dst":["*"],"app":7}]}"#, "\"app\" is an object, not a number"),
        (
            r#"{"grants":[{"src":["*"],"dst":["*"],"app":{"x.com/cap/sql":[]}}]}"#,
            "1:44: the capability \"x.com/cap/sql\" is not supported: there is \"nearwire/relay\"",
        ),
        (
            r#"{"grants":[{"src":["*"],"dst":["*"],"app":{"nearwire/relay":[{"a":1}]}}]}"#,
            "1:63: unknown key \"a\"",
        ),
        (
            r#"{"grants":[{"src":["*"],"dst":["*"],"app":{"nearwire/relay":["a"]}}]}"#,
            "expected parameters of the capability, an object, not a string",
        ),
        (
            r#"{"grants":[{"src":["*"],"dst":["autogroup:internet"],"app":{"nearwire/relay":[]}}]}"#,
            "outside the network relays nothing",
        ),
        (
            r#"{"grants":[{"action":"deny","src":["*"],"dst":["*"],"app":{"nearwire/relay":[]}}]}"#,
            "remove the grant",
        ),
        (
            r#"{"grants":[{"src":["*"],"dst":["*"],"via":[],"ip":["*"]}]}"#,
            "\"via\" is not supported",
        ),
        (r#"{"grants":[{"src":["*"],"dst":["*"]}]}"#, "1:12: the grant lacks \"ip\""),
        (
            r#"{"grants":[{"src":["*"],"dst":["10.0.0.1:22"],"ip":["*"]}]}"#,
            "1:41: ports go into \"ip\"",
        ),
        (r#"{"grants":[{"src":["*"],"dst":["*"],"ip":["tcp"]}]}"#, "write \"tcp:*\" for all"),
        (r#"{"grants":[{"src":["*"],"dst":["*"],"ip":["icmp:8"]}]}"#, "1:49: icmp has no ports"),
        (r#"{"grants":[{"src":["*"],"dst":["*"],"ip":["tpc:8"]}]}"#, "unknown protocol \"tpc\""),
        (r#"{"acls":[],"tests":[{"src":"a@"}]}"#, "1:21: the test expects nothing"),
        (r#"{"acls":[],"tests":[{"accept":[]}]}"#, "the test lacks \"src\""),
        (r#"{"acls":[],"tests":[{"src":"*","deny":["a:1"]}]}"#, "names too many"),
        (r#"{"acls":[],"tests":[{"src":"n","deny":["10.0.0.0/8:1"]}]}"#, "write an address of"),
        (r#"{"acls":[],"tests":[{"src":"n","deny":["a:1-2"]}]}"#, "1:43: \"1-2\" is not a port"),
        (
            r#"{"acls":[],"tests":[{"src":"n","proto":"icmp","deny":["a:1"]}]}"#,
            "has no ports: write 0",
        ),
        (r#"{"acls":[],"tests":[{"src":"tag:a","deny":["a:1"]}]}"#, "tag:a is not defined"),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|error| error.contains(reason)), "{text}: {errors:?}");
    }
}

#[test]
fn a_name_is_refused_once_and_where_it_stands() {
    let text = r#"{ "hosts": { "lab": "10.0.0.0/99" }, "groups": { "group:a": ["b"] },
        "acls": [ { "action": "accept", "src": ["group:a", "lab"], "dst": ["lab:*"] } ] }"#;
    assert_eq!(
        errors(text),
        [
            "1:31: \"99\" is not a prefix length: write 0 to 32",
            "1:63: \"b\" is not a user: write \"name@domain\", or \"name@\"",
        ]
    );
}

#[test]
fn refuses_documents_that_say_nothing() {
    for (text, reason) in [
        ("", "1:1: the document is empty"),
        ("[]", "1:1: expected an object, not a list"),
        ("{}", "1:1: \"acls\" and \"grants\" are missing"),
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
fn the_internet_is_what_is_public() {
    let text = r#"{"acls":[{"action":"accept","src":["*"],"dst":["autogroup:internet:*"]}]}"#;
    let document = Document::parse(text).unwrap();
    let compiled = compile(&document).unwrap();
    let public = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 \
        223.255.255.255 2000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let private = "0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
        169.254.0.0 172.16.0.0 172.31.255.255 192.168.0.0 224.0.0.0 239.255.255.255 240.0.0.0 \
        255.255.255.255 :: ::1 1fff:ffff:: 4000:: fd7a::1 fe80::1 ff02::1";
    for (addresses, expected) in [(public, true), (private, false)] {
        for address in addresses.split_whitespace() {
            let destination = address.parse().unwrap();
            let packet = Packet { source: destination, destination, protocol: 6, port: 443 };
            assert_eq!(compiled.find(&packet).is_some(), expected, "{address} in the tables");
            let meant = document.first_match(&policy::Nodes::default(), &packet).is_some();
            assert_eq!(meant, expected, "{address} in the document");
        }
    }
}

#[test]
fn refuses_a_policy_that_is_too_large() {
    let rule = r#"{"action":"accept","src":["*"],"dst":["*:*"]}"#;
    let text = format!("{{\"acls\":[{}]}}", vec![rule; policy::MAX_RULES + 1].join(","));
    assert!(errors(&text)[0].contains("131073 entries, more than 131072"));
}

#[test]
fn a_deny_of_ports_leaves_icmp_alone() {
    let decided = |ports: &str, protocol| {
        let text = format!(
            r#"{{"acls":[
                {{"action":"accept","src":["*"],"dst":["*:*"]}},
                {{"action":"deny","src":["10.0.0.1"],"dst":["10.0.0.2:{ports}"]}},
            ]}}"#
        );
        let compiled = compile(&Document::parse(&text).unwrap()).unwrap();
        let packet = Packet {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol,
            port: 22,
        };
        compiled.find(&packet).map(|entry| entry.action)
    };
    assert_eq!(decided("22", 1), Some(Action::Accept));
    assert_eq!(decided("22", 6), Some(Action::Deny));
    assert_eq!(decided("22", 17), Some(Action::Deny));
    assert_eq!(decided("*", 1), Some(Action::Deny));
}

#[test]
fn a_grant_may_have_nodes_relay_by_either_name_and_be_a_rule_too() {
    let text = r#"{ "tagOwners": { "tag:a": [] }, "grants": [
        { "src": ["*"], "dst": ["tag:a"], "app": { "tailscale.com/cap/relay": [] } },
        { "src": ["tag:a"], "dst": ["10.0.0.1"], "ip": ["*"], "app": { "nearwire/relay": [{}] } },
        { "src": ["*"], "dst": ["*"], "ip": ["tcp:1"] } ] }"#;
    let document = Document::parse(text).unwrap();
    assert_eq!(document.rules().iter().map(|rule| rule.line).collect::<Vec<_>>(), [3, 4]);
    let relays = document.relays().iter().map(|grant| (grant.line, grant.relays.len()));
    assert_eq!(relays.collect::<Vec<_>>(), [(2, 1), (3, 1)]);
}
