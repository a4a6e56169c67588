use proptest::prelude::*;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::key::PublicKey;
use crate::ticket::SigningKey;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32])).unwrap()
}

fn request(seed: u8) -> EnrolRequest {
    let mut request = EnrolRequest {
        versions: VERSIONS.to_vec(),
        auth_key: AuthKey::new("nwk_some_key"),
        node_key: key(seed).verifying_key(),
        wireguard_key: PublicKey::from([seed; 32]),
        hostname: "laptop".to_owned(),
        os: "linux".to_owned(),
        agent: String::new(),
        routes: vec!["10.1.0.0/16".parse().unwrap()],
        proof: Base64Signature([0; 64]),
    };
    request.sign(&key(seed));
    request
}

fn snapshot() -> serde_json::Value {
    let node_key = PublicKey::from([7; 32]).to_base64();
    let peer = |digit: char, name: &str| {
        let id = format!("n{}", digit.to_string().repeat(32));
        json!({ "id": id, "name": name, "key": node_key, "addresses": ["100.64.0.9"], "later": 1 })
    };
    json!({
        "revision": 5,
        "network": { "id": "00".repeat(16), "name": "home", "v4": "100.64.0.0/10", "v6": "fd00::/64" },
        "me": {
            "id": format!("n{}", "1".repeat(32)), "name": "me", "addresses": ["100.64.0.1"],
            "key": node_key, "standing": "approved",
        },
        "peers": [peer('2', "web"), peer('3', "db")],
        "regions": [],
        "filter": { "rules": [] },
        "dns": { "domain": "home.mesh" },
        "what nobody knows yet": true,
    })
}

fn frame(value: &serde_json::Value) -> Frame {
    Frame::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn an_enrolment_is_proven_by_the_node_key_alone() {
    let request = request(1);
    let read = EnrolRequest::parse(&serde_json::to_vec(&request).unwrap()).unwrap();
    assert!(read.is_proven());
    for change in [
        |r: &mut EnrolRequest| r.node_key = key(2).verifying_key(),
        |r: &mut EnrolRequest| r.wireguard_key = PublicKey::from([9; 32]),
        |r: &mut EnrolRequest| r.auth_key = AuthKey::new("nwk_another"),
    ] {
        let mut other = read.clone();
        change(&mut other);
        assert!(!other.is_proven());
    }
    assert!(!format!("{request:?}").contains("nwk_some_key"));
}

#[test]
fn what_is_too_long_is_named() {
    let wrong = |change: fn(&mut EnrolRequest)| {
        let mut request = request(1);
        change(&mut request);
        EnrolRequest::parse(&serde_json::to_vec(&request).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(wrong(|r| r.hostname = "a".repeat(256)), "`hostname` is longer than 255");
    assert_eq!(wrong(|r| r.os = "a\u{1b}b".to_owned()), "`os` holds control characters");
    let routes = wrong(|r| r.routes = vec!["10.0.0.0/8".parse().unwrap(); 257]);
    assert_eq!(routes, "`routes` is longer than 256");
}

#[test]
fn a_session_answers_its_own_challenge() {
    let node = NodeId([4; 16]);
    let answer = SessionRequest::answer(node, "abc".to_owned(), &key(1));
    assert!(answer.is_by(&key(1).verifying_key()));
    assert!(!answer.is_by(&key(2).verifying_key()));
    let mut other = answer.clone();
    other.challenge = "abd".to_owned();
    assert!(!other.is_by(&key(1).verifying_key()));
    other = answer;
    other.node = NodeId([5; 16]);
    assert!(!other.is_by(&key(1).verifying_key()));
}

#[test]
fn a_renewal_needs_both_keys() {
    let node = NodeId([4; 16]);
    let renewal = RenewRequest::new(node, &key(1), &key(2));
    assert!(renewal.is_by(node, &key(1).verifying_key()));
    assert!(!renewal.is_by(node, &key(3).verifying_key()));
    assert!(!renewal.is_by(NodeId([5; 16]), &key(1).verifying_key()));
    assert!(!RenewRequest::new(node, &key(3), &key(2)).is_by(node, &key(1).verifying_key()));
}

#[test]
fn a_snapshot_and_its_deltas_make_a_netmap() {
    let read = frame(&json!({ "snapshot": snapshot() }));
    let mut netmap = Netmap::from(read.snapshot.unwrap());
    assert_eq!(netmap.peers.len(), 2);
    let delta = json!({ "delta": {
        "base": 5, "revision": 6,
        "peers": [{
            "id": format!("n{}", "4".repeat(32)), "name": "new", "addresses": [],
            "key": PublicKey::from([8; 32]).to_base64(),
        }],
        "gone": [format!("n{}", "2".repeat(32))],
        "filter": { "rules": [1] },
    } });
    netmap.apply(frame(&delta).delta.unwrap()).unwrap();
    let names: Vec<_> = netmap.peers.values().map(|peer| peer.name.as_str()).collect();
    assert_eq!((names, netmap.revision), (vec!["db", "new"], 6));
    assert_eq!(netmap.filter.get(), r#"{"rules":[1]}"#);
    assert_eq!(netmap.me.name, "me");
    let late = netmap.apply(frame(&delta).delta.unwrap()).unwrap_err();
    assert_eq!(late, OutOfStep::Revision { base: 5, have: 6 });
}

#[test]
fn kinds_of_path_are_told_by_peer_and_taken_back() {
    let id = |digit: char| format!("n{}", digit.to_string().repeat(32));
    let mut snapshot = snapshot();
    snapshot["paths"] = json!([{ "peer": id('2'), "use": ["relay", "pigeon"] }]);
    let mut netmap = Netmap::from(frame(&json!({ "snapshot": snapshot })).snapshot.unwrap());
    let kinds = |netmap: &Netmap| {
        let kinds = netmap.peers.keys().map(|peer| netmap.path_kinds(peer).to_string());
        kinds.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(kinds(&netmap), "relay; direct or peer-relay or relay");
    let tell = |netmap: &mut Netmap, paths: serde_json::Value| {
        let (base, revision) = (netmap.revision, netmap.revision + 1);
        let delta = json!({ "delta": { "base": base, "revision": revision, "paths": paths } });
        netmap.apply(frame(&delta).delta.unwrap()).unwrap();
    };
    tell(&mut netmap, json!([{ "peer": id('3'), "use": ["relay", "direct"] }]));
    assert_eq!(kinds(&netmap), "relay; direct or relay");
    let all = serde_json::to_value(PathKinds::ALL).unwrap();
    assert_eq!(all, json!(["direct", "peer-relay", "relay"]));
    tell(&mut netmap, json!([{ "peer": id('2'), "use": all }, { "peer": id('3'), "use": [] }]));
    assert_eq!(kinds(&netmap), "direct or peer-relay or relay; none");
}

#[test]
fn a_filter_is_edited_by_its_sets_and_what_does_not_fit_changes_nothing() {
    let mut snapshot = snapshot();
    snapshot["filter"] = json!({ "rules": [1], "sets": [["a", "b"], ["c"], ["d"]], "flows": [] });
    let read = frame(&json!({ "snapshot": snapshot }));
    let mut netmap = Netmap::from(read.snapshot.unwrap());
    let base = netmap.revision;
    let delta = |base: u64, edit: serde_json::Value| {
        let delta = json!({ "base": base, "revision": base + 1, "filter_edit": edit });
        frame(&json!({ "delta": delta })).delta.unwrap()
    };
    let misfits = [
        json!({ "sets": [{ "from": 3 }] }),
        json!({ "sets": [{ "from": 0 }, { "from": 0 }] }),
        json!({ "sets": [], "rest": [] }),
    ];
    for misfit in misfits {
        let before = netmap.filter.get().to_owned();
        assert_eq!(netmap.apply(delta(base, misfit)), Err(OutOfStep::Filter));
        assert_eq!((netmap.filter.get(), netmap.revision), (before.as_str(), base));
    }
    let edit = json!({ "sets": [
        { "from": 2 },
        { "difference": { "insert": ["e"] } },
        { "from": 0, "difference": { "remove": ["a"], "insert": ["f"] } },
    ] });
    netmap.apply(delta(base, edit)).unwrap();
    let filter = |netmap: &Netmap| -> serde_json::Value {
        serde_json::from_str(netmap.filter.get()).unwrap()
    };
    let sets = json!([["d"], ["e"], ["b", "f"]]);
    assert_eq!(filter(&netmap), json!({ "rules": [1], "sets": sets, "flows": [] }));
    let rest = json!({ "rules": [2], "sets": [], "flows": [[0]] });
    let edit = json!({ "sets": [{ "from": 1 }], "rest": rest });
    netmap.apply(delta(base + 1, edit)).unwrap();
    assert_eq!(filter(&netmap), json!({ "rules": [2], "sets": [["e"]], "flows": [[0]] }));
}

#[test]
fn rules_that_are_told_anew_keep_the_texts_that_are_left_out() {
    let mut snapshot = snapshot();
    snapshot["rules"] = json!([
        { "id": 1, "line": 2, "text": "one" }, { "id": 7, "line": 3, "text": "seven", "new": 1 },
    ]);
    let mut netmap = Netmap::from(frame(&json!({ "snapshot": snapshot })).snapshot.unwrap());
    let mut tell = |rules: serde_json::Value| {
        let mut delta = json!({ "base": netmap.revision, "revision": netmap.revision + 1 });
        if !rules.is_null() {
            delta["rules"] = rules;
        }
        netmap.apply(frame(&json!({ "delta": delta })).delta.unwrap()).unwrap();
        let text = |rule: &RuleLine| rule.text.clone().unwrap_or_default();
        let rules = netmap.rules.values();
        rules.map(|rule| format!("{} {} {}", rule.id, rule.line, text(rule))).collect::<Vec<_>>()
    };
    assert_eq!(tell(json!(null)), ["1 2 one", "7 3 seven"]);
    let moved = json!([{ "id": 7, "line": 4 }, { "id": 9, "line": 5, "text": "nine" }]);
    assert_eq!(tell(moved), ["7 4 seven", "9 5 nine"]);
    assert_eq!(tell(json!([{ "id": 7, "line": 4, "text": "" }])), ["7 4 "]);
    assert_eq!(tell(json!([])), [""; 0]);
}

#[test]
fn frames_and_reasons_of_later_versions_are_passed_over() {
    let alive = frame(&json!({ "something new": {} }));
    assert!(alive.snapshot.is_none() && alive.delta.is_none() && alive.end.is_none());
    let end = frame(&json!({ "end": { "reason": "moon-phase" } })).end.unwrap();
    assert_eq!(end.reason, EndReason::Other);
    assert_eq!(serde_json::to_string(&Frame::<Peer>::ALIVE).unwrap(), "{}");
}

#[test]
fn the_best_common_version_is_taken() {
    assert_eq!(common_version(&[7, 1]), Some(1));
    assert_eq!(common_version(&[2, 3]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_fail_otherwise_than_by_an_error(bytes: Vec<u8>) {
        let _ = EnrolRequest::parse(&bytes);
        let _ = ChallengeRequest::parse(&bytes);
        let _ = SessionRequest::parse(&bytes);
        let _ = RenewRequest::parse(&bytes);
        let _ = Report::parse(&bytes);
        let _ = Frame::parse(&bytes);
    }

    #[test]
    fn ids_round_trip(bytes: [u8; 16]) {
        let id = NodeId(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        let network = crate::ticket::NetworkId(bytes);
        prop_assert_eq!(network.to_string().parse(), Ok(network));
    }

    #[test]
    fn other_texts_are_no_ids(text in "[nN]?[0-9a-fA-F]{30,34}") {
        let right = text.len() == 33
            && text.starts_with('n')
            && !text.contains(|c: char| c.is_ascii_uppercase());
        prop_assert_eq!(text.parse::<NodeId>().is_ok(), right);
    }
}
