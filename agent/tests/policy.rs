//! The commands that read policy documents, as a user runs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const POLICY: &str = r#"{
  "groups": { "group:dev": ["alice@example.com", "bob@example.com"] },
  "hosts": { "printer": "10.0.0.9" },
  "tagOwners": { "tag:web": ["group:dev"] },
  "acls": [
    { "action": "accept", "src": ["group:dev"], "dst": ["tag:web:22,80"], "proto": "tcp" },
    { "action": "deny", "src": ["bob@example.com"], "dst": ["tag:web:22"] },
  ],
  "grants": [ { "src": ["autogroup:member"], "dst": ["printer"], "ip": ["tcp:9100", "icmp:*"] } ],
  "tests": [
    { "src": "alice@example.com", "accept": ["tag:web:22"], "deny": ["printer:22"] },
    { "src": "bob@example.com", "accept": ["tag:web:80"],
      "deny": ["tag:web:22"] },
  ],
}"#;

const NODES: &str = r#"{ "nodes": [
  { "name": "laptop", "user": "alice@example.com", "addresses": ["100.64.0.1", "fd7a::1"] },
  { "name": "phone", "user": "bob@example.com", "addresses": ["100.64.0.3"] },
  { "name": "web1", "tags": ["tag:web"], "addresses": ["100.64.0.2", "fd7a::2"] },
] }"#;

/// Files that go away with it.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("nearwire-cli-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = Self(folder);
        files.write("policy", POLICY);
        files.write("nodes", NODES);
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Runs `nearwire policy` among the files; gives the exit code and both outputs.
    fn policy(&self, words: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_nearwire"))
            .arg("policy")
            .args(words.split(' '))
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, words: &str) -> (i32, Value) {
        let (code, out, err) = self.policy(&format!("{words} --json"));
        let value = serde_json::from_str(&out);
        (code, value.unwrap_or_else(|error| panic!("{words}: {error}: {out}{err}")))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_sums_up_or_names_every_error() {
    let files = Files::new("check");
    let (code, out, err) = files.policy("check policy --nodes nodes");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("policy: no errors; 3 rules, 1 groups, 1 hosts, 1 tags, 2 tests;"),
        "{out}"
    );
    let (_, summary) = files.json("check policy --nodes nodes");
    assert_eq!((&summary["rules"], &summary["nodes"]), (&3.into(), &3.into()));
    assert!(summary["table_entries"].as_u64().unwrap() > 5);

    files.write("few", r#"{ "nodes": [ { "name": "l", "user": "Alice@Example.com", "addresses": ["1.1.1.1"] } ] }"#);
    let (code, _, err) = files.policy("check policy --nodes few");
    assert_eq!(code, 0);
    let meant = "no node is alice@example.com (which is Alice@Example.com): capitals count";
    assert!(err.contains(meant), "{err}");
    assert!(
        err.contains("no node is bob@example.com, group:dev, tag:web: what the rules"),
        "{err}"
    );

    let (code, _, err) = files.policy("check policy");
    assert_eq!(code, 0);
    assert!(err.contains("warning: policy names users"), "{err}");

    files.write("bad", &POLICY.replace("\"printer\"]", "\"scanner\"]").replace("9100", "99100"));
    let (code, _, err) = files.policy("check bad");
    assert_eq!(code, 1);
    let place = "bad:9:55: the host \"scanner\" is not defined: add it to \"hosts\"\n";
    assert!(err.contains(place) && err.contains("bad:9:78: \"99100\" is not a port"), "{err}");
    let (code, refused) = files.json("check bad");
    assert_eq!((code, &refused["valid"]), (1, &false.into()));
    assert_eq!(refused["errors"][0]["line"], 9);
    assert_eq!(refused["errors"][0]["column"], 55);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2);
    assert_eq!(refused["more_errors"], 0);
    files.write(
        "bad",
        &POLICY.replace("\"group:dev\"]", &format!("{}\"?\"]", "\"?\",".repeat(199))),
    );
    let (_, _, err) = files.policy("check bad");
    assert!(err.lines().count() < 310 && err.ends_with("and 300 more errors\n"), "{err}");
    let (_, refused) = files.json("check bad");
    let told = refused["errors"].as_array().unwrap().len();
    assert_eq!((told, &refused["more_errors"]), (100, &300.into()));

    files.write("nodes", "{ \"nodes\": [ {} ] }");
    let (code, _, err) = files.policy("check policy --nodes nodes");
    assert_eq!(code, 1);
    assert!(err.contains("the file of nodes is refused\nnodes:1:14: "), "{err}");
    for (name, bytes, reason) in [
        ("nowhere", None, "cannot read the policy nowhere"),
        ("latin", Some(b"{\n \"\xe9\"".as_slice()), "latin:2:3: this is not UTF-8: save"),
        ("wide", Some(b"\xff\xfe{\0".as_slice()), "wide:1:1: this is UTF-16, not UTF-8: save"),
        ("marked", Some(b"\xef\xbb\xbf{}".as_slice()), "begins with a byte order mark: save"),
    ] {
        if let Some(bytes) = bytes {
            fs::write(files.0.join(name), bytes).unwrap();
        }
        let (code, out, err) = files.policy(&format!("check {name}"));
        assert!((code, out.as_str()) == (1, "") && err.contains(reason), "{name}: {out}{err}");
        let (code, refused) = files.json(&format!("check {name}"));
        assert_eq!((code, &refused["valid"], &refused["file"]), (1, &false.into(), &name.into()));
        assert!(refused["errors"][0]["reason"].as_str().unwrap().contains(reason), "{refused}");
    }
}

#[test]
fn test_runs_the_documents_own() {
    let files = Files::new("test");
    for words in ["test policy", "test policy --nodes nodes"] {
        let (code, out, _) = files.policy(words);
        assert_eq!((code, out.as_str()), (0, "policy: 0 of 4 expectations failed\n"), "{words}");
    }
    files.write("changed", &POLICY.replace("\"deny\", \"src\"", "\"accept\", \"src\""));
    let (code, out, _) = files.policy("test changed --nodes nodes");
    assert_eq!(code, 1);
    assert!(
        out.contains("changed:13: bob@example.com -> tag:web tcp or udp 22 should be denied"),
        "{out}"
    );
    assert!(out.contains("phone (100.64.0.3) -> web1 (100.64.0.2) tcp 22"), "{out}");
    assert!(out.contains("the rule on line 6 decides: { \"action\": \"accept\""), "{out}");
    assert!(out.contains("1 of 4 expectations failed"), "{out}");
    let (_, out, _) = files.policy("test changed");
    assert!(
        out.contains(" was made up for the test: bob@example.com has no node\n    ")
            && out.contains(" was made up for the test: tag:web has no node\n"),
        "{out}"
    );
    let (code, summary) = files.json("test changed --nodes nodes");
    assert_eq!((code, &summary["failed"]), (1, &1.into()));
    assert_eq!(summary["expectations"][3]["failure"]["line"], 6);
}

#[test]
fn explain_says_what_decides_and_where() {
    let files = Files::new("explain");
    let (code, out, _) = files.policy("explain policy --nodes nodes laptop web1:22");
    assert_eq!(code, 0);
    assert!(
        out.contains(
            "laptop (100.64.0.1) -> web1 (100.64.0.2) tcp 22: accepted\n    by the rule on line 6"
        ),
        "{out}"
    );
    assert!(out.contains("laptop (fd7a::1) -> web1 (fd7a::2) tcp 22: accepted"), "{out}");
    let (_, out, _) = files.policy("explain policy --nodes nodes bob@example.com web1:22");
    assert!(out.contains("denied\n    by the rule on line 7"), "{out}");
    let (_, out, _) = files.policy("explain policy --nodes nodes laptop printer/gre");
    assert!(out.contains("printer (10.0.0.9) gre: denied\n    no rule accepts it"), "{out}");
    let (code, flows) = files.json("explain policy --nodes nodes phone printer/icmp");
    assert_eq!(code, 0);
    let flow = &flows["flows"][0];
    assert_eq!((&flow["accepted"], &flow["protocol"]), (&true.into(), &1.into()));
    assert_eq!(
        (&flow["rule"]["line"], &flow["identity_prefix"]),
        (&9.into(), &"100.64.0.3".into())
    );
    files.write("open", r#"{ "acls": [ { "action": "accept", "src": ["*"], "dst": ["*:22"] } ] }"#);
    let (_, out, _) = files.policy("explain open 10.0.0.1 10.0.0.2:22");
    assert!(out.contains("source      identity 1 (by *)"), "{out}");
    for (words, reason) in [
        ("explain policy laptop web1:22", "neither \"hosts\" nor the nodes have laptop"),
        ("explain policy 10.0.0.1 10.0.0.2", "names no port"),
    ] {
        let (code, _, err) = files.policy(words);
        assert_eq!(code, 1);
        assert!(err.contains(reason), "{words}: {err}");
    }
}

#[test]
fn a_rule_of_several_lines_is_told_in_one() {
    let files = Files::new("lines");
    let spread = POLICY.replace(
        r#"{ "action": "accept", "src": ["group:dev"], "dst": ["tag:web:22,80"], "proto": "tcp" },"#,
        r#"{
      // SSH and the web.
      "action": "accept",
      "src":    ["group:dev"],
      "dst":    ["tag:web:22,80"],
      "proto":  "tcp"
    },"#,
    );
    files.write("spread", &spread);
    let rule =
        r#"{ "action": "accept", "src": ["group:dev"], "dst": ["tag:web:22,80"], "proto": "tcp" }"#;
    let asked = "explain spread --nodes nodes laptop web1:22";
    let (_, out, _) = files.policy(asked);
    assert!(out.contains(&format!("by the rule on line 6: {rule}\n")), "{out}");
    let (_, flows) = files.json(asked);
    assert_eq!(flows["flows"][0]["rule"]["text"], rule);
    files.write("failing", &spread.replace("[\"printer:22\"]", "[\"tag:web:80\"]"));
    let (_, out, _) = files.policy("test failing --nodes nodes");
    assert!(out.contains(&format!("the rule on line 6 decides: {rule}\n")), "{out}");

    // A document in one line does not show all of itself.
    files.write("flat", &POLICY.replace('\n', ""));
    let (_, out, _) = files.policy(asked.replace("spread", "flat").as_str());
    assert!(out.contains(&format!("by the rule on line 1: {rule}\n")), "{out}");
}

#[test]
fn diff_names_who_gains_and_who_loses() {
    let files = Files::new("diff");
    let (code, out, _) = files.policy("diff policy policy --nodes nodes");
    assert_eq!((code, out.as_str()), (0, ""));
    let other =
        POLICY.replace("22,80", "22,443").replace("[\"printer\"]", "[\"printer\", \"tag:web\"]");
    files.write("other", &other);
    let (code, out, _) = files.policy("diff policy other --nodes nodes");
    assert_eq!(code, 0);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "+ laptop, phone -> web1: icmp, tcp 443, tcp 9100, ipv6-icmp",
            "- laptop, phone -> web1: tcp 80",
        ]
    );
    // A host that moves is two: its name alone would be gained and lost at once.
    files.write("moved", &POLICY.replace("10.0.0.9", "10.0.0.10"));
    let (_, out, _) = files.policy("diff policy moved --nodes nodes");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "+ laptop, phone -> printer (10.0.0.10): icmp, tcp 9100, ipv6-icmp",
            "- laptop, phone -> printer (10.0.0.9): icmp, tcp 9100, ipv6-icmp",
        ]
    );
    let (_, changes) = files.json("diff other policy --nodes nodes");
    assert_eq!(changes["gained"][0]["sources"], serde_json::json!(["laptop", "phone"]));
    assert_eq!(changes["lost"].as_array().unwrap().len(), 1);
}

#[test]
fn how_packets_are_carried_is_explained_and_compared() {
    let files = Files::new("carried");
    let carried = POLICY.replacen(
        "\"tests\"",
        r#""paths": [
    { "src": ["group:dev"], "dst": ["tag:web"], "use": ["peer-relay", "relay"] },
  ],
  "tests""#,
        1,
    );
    let relay =
        r#""grants": [ { "src": ["*"], "dst": ["100.64.0.3"], "app": { "nearwire/relay": [] } },"#;
    files.write("carried", &carried.replace("\"grants\": [", relay));
    let (_, out, _) = files.policy("explain carried --nodes nodes web1 laptop:22");
    let said =
        "paths       peer-relay or relay (by the rule on line 11: { \"src\": [\"group:dev\"]";
    assert!(out.contains(said) && out.contains("peer relays phone"), "{out}");
    let (_, out, _) = files.policy("explain carried --nodes nodes phone laptop:22");
    let said = "paths       direct or peer-relay or relay (no rule of paths speaks of them)";
    assert!(out.contains(said) && out.contains("peer relays none"), "{out}");
    let (_, flows) = files.json("explain carried --nodes nodes web1 laptop:22");
    let expected = serde_json::json!({
        "paths": ["peer-relay", "relay"], "peer_relays": ["phone"],
        "rule": flows["flows"][0]["carried"]["rule"],
    });
    assert_eq!(flows["flows"][0]["carried"], expected);
    assert_eq!(expected["rule"]["line"], 11);
    let (_, flows) = files.json("explain carried --nodes nodes laptop printer:22");
    assert!(flows["flows"][0]["carried"].is_null(), "the printer is no node");

    let (_, out, _) = files.policy("diff policy carried --nodes nodes");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let lost = "- laptop, phone -> web1: path direct";
    assert_eq!(lines, ["+ laptop, web1 -> phone: relaying", lost]);
    let (_, changes) = files.json("diff carried policy --nodes nodes");
    assert_eq!(changes["gained"][0]["services"], serde_json::json!(["path direct"]));
    let (_, out, _) = files.policy("check carried --nodes nodes");
    assert!(out.contains("; 1 grants to relay; 1 rules of paths"), "{out}");
}
