//! The routes of nodes at their edges, by who has a session.

use proto::control::{
    ChallengeResponse, EndReason, PathKind, PathKinds, SessionRequest, SessionResponse,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, signing_key};
use crate::scene::{Database, OPEN, Scene};

/// What stands behind `Bearer` for a node.
async fn token(scene: &Scene, node: &Agent, seed: u16) -> String {
    let ask = async |what: &str, body: Value| {
        let request = scene.http.post(format!("{}/agent/v1/{what}", scene.url)).json(&body);
        request.send().await.unwrap().bytes().await.unwrap()
    };
    let asked = ask("challenge", json!({ "node": node.id() })).await;
    let asked: ChallengeResponse = serde_json::from_slice(&asked).unwrap();
    let answer = SessionRequest::answer(node.id(), asked.challenge, &signing_key(seed));
    let session = ask("session", serde_json::to_value(answer).unwrap()).await;
    serde_json::from_slice::<SessionResponse>(&session).unwrap().token
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_changes_between_nodes_is_told_before_it_counts_and_reaches_them() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let mut one = Agent::join(scene.client(), &key, 1).await;
        let two = Agent::join(scene.client(), &key, 2).await;
        let other = two.id();
        one.until("its peer", |netmap| netmap.peers.contains_key(&other)).await;
        let rules = r#"{ "paths": [{ "src": ["*"], "dst": ["*"], "use": ["relay"] }], "grants": [
            { "src": ["*"], "dst": ["*"], "app": { "nearwire/relay": [] } }],"#;
        let text = OPEN.replacen('{', rules, 1);
        let path = "/networks/home/policy";
        let tried = Some(json!({ "text": &text }));
        let tried = scene.ask(Method::POST, &format!("{path}/check"), tried).await;
        let nodes = scene.ask(Method::GET, "/networks/home/nodes", None).await;
        let name = |node: &serde_json::Value| node["name"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = nodes["nodes"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        let all = json!(["direct", "peer-relay", "relay"]);
        let paths = json!([{ "nodes": names, "others": names, "old": all, "new": ["relay"] }]);
        assert_eq!((&tried["paths"], &tried["changes"]), (&paths, &json!([])));
        let relays = names.iter().map(|relay| {
            let clients: Vec<_> = names.iter().filter(|name| *name != relay).collect();
            json!({ "gained": true, "relay": relay, "clients": clients })
        });
        let relays: Vec<_> = relays.collect();
        assert_eq!(tried["relaying"], json!(relays));
        scene.policy("home", &text).await;
        let only = PathKinds::from(PathKind::Relay);
        one.until("its paths", |netmap| netmap.path_kinds(&other) == only).await;
        scene.policy("home", OPEN).await;
        one.until("any path", |netmap| netmap.path_kinds(&other).is_all()).await;
        let diff = scene.ask(Method::GET, &format!("{path}/diff?from=3&to=4"), None).await;
        assert_eq!((&diff["paths"][0]["old"], &diff["paths"][0]["new"]), (&json!(["relay"]), &all));
        assert_eq!(diff["relaying"][0]["gained"], false, "{diff}");

        // A document's own tests know nodes by name, and so do the flows that change.
        let text = format!(
            r#"{{ "tagOwners": {{ "tag:web": [] }}, "acls": [
                {{ "action": "accept", "src": ["tag:web"], "dst": ["tag:web:443"], "proto": "tcp" }} ],
            "tests": [{{ "src": "{0}", "accept": ["{1}:443"], "deny": ["{1}:80"] }}] }}"#,
            names[0], names[1]
        );
        scene.policy("home", r#"{ "acls": [] }"#).await;
        let tried = Some(json!({ "text": text }));
        let tried = scene.ask(Method::POST, &format!("{path}/check"), tried).await;
        let changes = tried["changes"].as_array().unwrap();
        assert!(!changes.is_empty());
        for change in changes {
            assert_eq!(change["services"], json!(["tcp 443"]), "{change}");
            assert_eq!(
                (&change["sources"], &change["destinations"]),
                (&json!(names), &json!(names))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_under_a_session_is_a_problem_and_changes_nothing() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let mut node = Agent::join(scene.client(), &key, 1).await;
        let token = token(&scene, &node, 1).await;
        let ask = async |method: Method, path: &str, body: Vec<u8>| {
            // A connection of its own: it may be closed while more is sent.
            let http = control_client::http_client(&control_client::Trust::Host).unwrap();
            let request = http.request(method, format!("{}/agent/v1/{path}", scene.url));
            let answer = request.bearer_auth(&token).body(body).send().await.ok()?;
            let kind = answer.headers().get("content-type").cloned();
            assert_eq!(kind.unwrap(), "application/problem+json", "{path}");
            Some(answer.status())
        };
        let before = scene.ask(Method::GET, "/networks/home/nodes", None).await;
        let endpoints = vec!["192.0.2.1:1"; 33];
        let flow = json!({ "at": 1, "event": "start", "protocol": 6, "source": "::1",
            "destination": "::1", "reason": "x".repeat(300) });
        for (path, text, expected) in [
            ("report", String::new(), 400),
            ("report", "{".to_owned(), 400),
            ("report", "5".to_owned(), 400),
            ("report", "\u{0}".to_owned(), 400),
            ("report", json!({ "endpoints": endpoints }).to_string(), 400),
            ("report", json!({ "endpoints": ["nowhere"] }).to_string(), 400),
            ("report", json!({ "routes": vec!["10.0.0.0/8"; 300] }).to_string(), 400),
            ("report", json!({ "routes": ["100.64.0.0/16"] }).to_string(), 422),
            ("report", json!({ "routes": ["127.0.0.0/8"] }).to_string(), 422),
            ("report", json!({ "key": "AAAA" }).to_string(), 400),
            ("report", json!({ "key": "A".repeat(43) + "=" }).to_string(), 422),
            ("report", json!({ "next_key": "A".repeat(43) + "=" }).to_string(), 422),
            ("report", json!({ "flows": [flow] }).to_string(), 400),
            ("renew", String::new(), 400),
            ("renew", "{}".to_owned(), 400),
            ("renew", "null".to_owned(), 400),
        ] {
            let status = ask(Method::POST, path, text.clone().into_bytes()).await.unwrap();
            assert_eq!(status.as_u16(), expected, "{path} {text}");
        }
        for path in ["report", "renew"] {
            let status = ask(Method::POST, path, vec![b' '; (1 << 20) + 1]).await;
            // Refused, or cut off while it is sent.
            assert!(status.is_none_or(|status| status == StatusCode::PAYLOAD_TOO_LARGE), "{path}");
        }
        for query in ["after=x", "after=-1", "after=99999999999999999999", "after="] {
            let status = ask(Method::GET, &format!("stream?{query}"), Vec::new()).await.unwrap();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        }
        for (method, path) in [
            (Method::GET, "report"),
            (Method::POST, "stream"),
            (Method::DELETE, "leave"),
            (Method::GET, "renew"),
        ] {
            let status = ask(method.clone(), path, Vec::new()).await.unwrap();
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
        let after = scene.ask(Method::GET, "/networks/home/nodes", None).await;
        assert_eq!(before, after);
        // A revision that nobody has been told is no harm: the node hears everything.
        let url = format!("{}/agent/v1/stream?after=999999", scene.url);
        let mut stream = scene.http.get(url).bearer_auth(&token).send().await.unwrap();
        let first = stream.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"{\"snapshot\":"));
        assert_eq!(node.end().await, EndReason::Replaced);
        scene.server.drain(std::time::Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sends_no_more_than_a_node_with_all_its_routes() {
    let scene = Scene::start(&Database::sqlite()).await;
    for path in ["enrol", "challenge", "session"] {
        let http = control_client::http_client(&control_client::Trust::Host).unwrap();
        let url = format!("{}/agent/v1/{path}", scene.url);
        let answer = http.post(url).body(vec![b' '; 1 << 20]).send().await;
        // Refused, or cut off while it is sent.
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        }
    }
    // All its routes, as long as they can be.
    scene.network("home").await;
    let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
    let mut request = crate::agent::request(&key, 1);
    let routes = (0..256).map(|n| format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}/128"));
    request.routes = routes.map(|route| route.parse().unwrap()).collect();
    scene.client().enrol(&request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_nodes_takes_a_session_that_is_none_or_of_a_node_that_is_gone() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let nodes = [
            Agent::join(scene.client(), &key, 1).await,
            Agent::join(scene.client(), &key, 2).await,
        ];
        let [live, gone] = [token(&scene, &nodes[0], 1).await, token(&scene, &nodes[1], 2).await];
        scene.ask(Method::DELETE, &format!("/networks/home/nodes/{}", nodes[1].id()), None).await;
        let last = if live.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{last}", &live[..live.len() - 1]);
        let before = scene.ask(Method::GET, "/networks/home/nodes", None).await;
        // Few enough for nobody to be locked out.
        for wrong in ["", &forged, &gone] {
            for (method, path) in [
                (Method::GET, "stream"),
                (Method::POST, "report"),
                (Method::POST, "renew"),
                (Method::POST, "leave"),
            ] {
                let request = scene.http.request(method, format!("{}/agent/v1/{path}", scene.url));
                let request = if wrong.is_empty() { request } else { request.bearer_auth(wrong) };
                let answer = request.body("{}").send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} by {wrong:?}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
            }
        }
        let by_an_operator = scene.http.post(format!("{}/agent/v1/report", scene.url));
        let answer = by_an_operator.bearer_auth(&scene.root).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(scene.ask(Method::GET, "/networks/home/nodes", None).await, before);
    }
}
