//! The API at its edges: strangers, other tenants, bad input, on every route that there is.

use std::collections::BTreeSet;

use control::core::scope::Scope;
use control_client::{Trust, http_client};
use proto::control::Report;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::scene::{Database, OPEN, Scene, mint};

/// Every method of every path of the document, with its variables filled in.
fn routes(network: &str) -> Vec<(Method, String, bool)> {
    let document = serde_json::to_value(control::api::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let of_network = path.contains("{network}");
        let path = path
            .trim_start_matches("/api/v1")
            .replace("{network}", network)
            .replace("{node}", &format!("n{}", "1".repeat(32)))
            .replace("{key}", "0123456789abcdef")
            .replace("{token}", "0123456789abcdef")
            .replace("{version}", "1");
        for method in item.as_object().unwrap().keys() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let query = if path.ends_with("/diff") { "?from=1&to=1" } else { "" };
            routes.push((method, format!("{path}{query}"), of_network));
        }
    }
    assert!(routes.len() >= 28, "{}", routes.len());
    routes
}

#[test]
fn operations_have_names_of_their_own() {
    let document = serde_json::to_value(control::api::openapi()).unwrap();
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is two operations'");
        }
    }
    assert!(names.len() >= 28);
}

/// A body that is right for a route that takes one.
fn body(method: &Method, path: &str) -> Option<Value> {
    if *method == Method::GET || *method == Method::DELETE {
        return None;
    }
    let mut from_the_end = path.rsplit('/');
    let last = from_the_end.next().unwrap_or("");
    if from_the_end.next() == Some("networks") {
        return Some(json!({ "flow_logs": 10 }));
    }
    Some(match last {
        "networks" => json!({ "name": "third" }),
        "keys" => json!({ "tags": ["tag:web"] }),
        "tokens" => json!({ "scopes": ["nodes:read"] }),
        "policy" | "check" => json!({ "text": OPEN }),
        "rollback" => json!({ "version": 1 }),
        "regions" => json!({ "regions": [] }),
        "control-keys" => return None,
        _ => json!({ "approved": true }),
    })
}

fn is_problem(answer: &Value, status: StatusCode) -> bool {
    answer["status"].as_u64() == Some(status.as_u16().into())
        && answer["type"].as_str().is_some_and(|kind| kind.starts_with("urn:nearwire:problem:"))
        && answer["detail"].as_str().is_some_and(|detail| !detail.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_lets_in_a_stranger_or_who_lacks_the_right() {
    // The lockout has its own test: here each refusal counts for itself.
    for (token, expected) in
        [("".to_owned(), StatusCode::UNAUTHORIZED), ("powerless".to_owned(), StatusCode::FORBIDDEN)]
    {
        let scene = Scene::start(&Database::sqlite()).await;
        scene.network("home").await;
        let token = match token.as_str() {
            "powerless" => mint(scene.server.app().store(), Vec::new()).await,
            _ => token,
        };
        for (method, path, _) in routes("home") {
            let body = body(&method, &path);
            let (status, answer) = scene.ask_as(&token, method.clone(), &path, body).await;
            assert_eq!(status, expected, "{method} {path}: {answer}");
            assert!(is_problem(&answer, status), "{answer}");
        }
    }
}

/// Each token once on each route; a fresh server for every few, since who fails is locked out.
#[tokio::test(flavor = "multi_thread")]
async fn no_route_takes_a_token_that_is_forged_has_ended_or_was_revoked() {
    let database = Database::sqlite();
    let mut scene = Scene::start(&database).await;
    scene.network("home").await;
    let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let body = |lasts: u64| Some(json!({ "scopes": all, "lasts": lasts }));
    let made = scene.ask(Method::POST, "/tokens", body(1)).await;
    let ended = made["secret"].as_str().unwrap().to_owned();
    let revoked = scene.ask(Method::POST, "/tokens", body(600)).await;
    scene
        .ask(Method::DELETE, &format!("/tokens/{}", revoked["token"]["id"].as_str().unwrap()), None)
        .await;
    let revoked = revoked["secret"].as_str().unwrap().to_owned();
    let last = if scene.root.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &scene.root[..scene.root.len() - 1]);
    let node = scene.key("home", json!({ "tags": ["tag:web"] })).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let (status, _) = scene.ask_as(&ended, Method::GET, "/networks", None).await;
        if status == StatusCode::UNAUTHORIZED {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it does not end");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut failures = 1;
    for (method, path, _) in routes("home") {
        for token in [&forged, &ended, &revoked, &node] {
            if failures == 9 {
                scene = Scene::start(&database).await;
                failures = 0;
            }
            failures += 1;
            let body = self::body(&method, &path);
            let (status, answer) = scene.ask_as(token, method.clone(), &path, body).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {answer}");
            assert!(is_problem(&answer, status), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_crosses_from_one_network_to_another() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        for name in ["mine", "theirs"] {
            scene.network(name).await;
        }
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let new = json!({ "network": "mine", "scopes": scopes });
        let made = scene.ask(Method::POST, "/tokens", Some(new)).await;
        let mine = made["secret"].as_str().unwrap();
        let before = scene.ask(Method::GET, "/networks/theirs", None).await;
        for (method, path, of_network) in routes("theirs") {
            let body = body(&method, &path);
            let (status, answer) = scene.ask_as(mine, method.clone(), &path, body).await;
            if of_network {
                // As if it were not there.
                assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
            } else if path == "/networks" && method == Method::GET {
                let names: BTreeSet<&str> = answer["networks"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|network| network["name"].as_str().unwrap())
                    .collect();
                assert_eq!(names, BTreeSet::from(["mine"]));
            } else if path == "/tokens" && method == Method::GET {
                assert_eq!(answer["tokens"].as_array().unwrap().len(), 1);
            } else {
                assert!(status.is_client_error(), "{method} {path}: {status} {answer}");
            }
        }
        let after = scene.ask(Method::GET, "/networks/theirs", None).await;
        assert_eq!(before, after);
        // Nor does it hand out what it does not have.
        let wider = json!({ "network": "theirs", "scopes": ["nodes:read"] });
        let (status, _) = scene.ask_as(mine, Method::POST, "/tokens", Some(wider)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = scene.ask_as(mine, Method::GET, "/networks/mine/nodes", None).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_networks_have_the_same_addresses_and_do_not_meet() {
    use crate::agent::Agent;
    let scene = Scene::start(&Database::postgres().await).await;
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        scene.network(name).await;
        scene.policy(name, OPEN).await;
        let key = scene.key(name, json!({ "tags": ["tag:web"] })).await;
        nodes.push(Agent::join(scene.client(), &key, 1).await);
    }
    assert_eq!(nodes[0].enrolled.addresses[0], nodes[1].enrolled.addresses[0]);
    assert_ne!(nodes[0].id(), nodes[1].id());
    assert!(nodes.iter().all(|node| node.peers().is_empty()));
    // A session of one network opens nothing of the other, and signatures are of one node.
    let other = nodes[1].id();
    let path = format!("/networks/one/nodes/{other}");
    let (status, _) = scene.ask_as(&scene.root, Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_the_answer_is_a_problem_and_never_a_fault() {
    for database in Database::each().await {
        bad_input(&Scene::start(&database).await).await;
    }
}

async fn bad_input(scene: &Scene) {
    scene.network("home").await;
    let texts = ["", "{", "[]", "null", "{\"name\": 5}", "{\"no such field\": 1}", "\u{0}\u{1}"];
    for (method, path, _) in routes("home") {
        if method == Method::GET || method == Method::DELETE || path.ends_with("control-keys") {
            continue;
        }
        for text in texts {
            let answer = scene
                .http
                .request(method.clone(), format!("{}/api/v1{path}", scene.url))
                .bearer_auth(&scene.root)
                .header("content-type", "application/json")
                .body(text)
                .send()
                .await
                .unwrap();
            let status = answer.status();
            assert!(status.is_client_error(), "{method} {path} {text:?}: {status}");
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            assert_eq!(kind, "application/problem+json", "{method} {path} {text:?}");
        }
        let large = "x".repeat(if path.contains("/policy") { 65 << 20 } else { 1 << 20 });
        // A connection of its own: it may be closed while more is sent.
        let answer = http_client(&Trust::Host)
            .unwrap()
            .request(method.clone(), format!("{}/api/v1{path}", scene.url))
            .bearer_auth(&scene.root)
            .header("content-type", "application/json")
            .body(large)
            .send()
            .await;
        // Refused, or cut off while it is sent.
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{method} {path}");
        }
    }
    for name in ["%00", "a'%3B%20DROP%20TABLE%20nodes%3B--", "..%2F..", &"x".repeat(5_000)] {
        let (status, answer) =
            scene.ask_as(&scene.root, Method::GET, &format!("/networks/{name}/nodes"), None).await;
        assert!(status.is_client_error(), "{name}: {status} {answer}");
    }
    for query in ["limit=-1", "limit=x", "limit=99999999999999999999"] {
        let path = format!("/networks/home/nodes?{query}");
        let (status, answer) = scene.ask_as(&scene.root, Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
    }
    for query in ["after=%FF", "after=%00"] {
        let path = format!("/networks/home/nodes?{query}");
        let (status, answer) = scene.ask_as(&scene.root, Method::GET, &path, None).await;
        assert!(!status.is_server_error(), "{query}: {answer}");
    }
    let agents = ["enrol", "challenge", "session"];
    for path in agents {
        for text in texts {
            let url = format!("{}/agent/v1/{path}", scene.url);
            let answer = scene.http.post(url).body(text).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path} {text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tried_before_it_counts_and_can_be_taken_back() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let path = "/networks/home/policy";
        let put = |text: &str| Some(json!({ "text": text, "replaces": 1 }));
        let wrong = r#"{ "acls": [], "tests": [{ "src": "a@x", "accept": ["b@x:22"] }] }"#;
        let (status, problem) = scene.ask_as(&scene.root, Method::PUT, path, put(wrong)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(problem["errors"][0].as_str().unwrap().contains("no rule accepts"), "{problem}");
        scene.ask(Method::PUT, path, put(OPEN)).await;
        let (status, _) = scene.ask_as(&scene.root, Method::PUT, path, put(OPEN)).await;
        assert_eq!(status, StatusCode::CONFLICT, "another version is in force");
        let diff = scene.ask(Method::GET, &format!("{path}/diff?from=1&to=2"), None).await;
        assert!(diff["changes"].as_array().unwrap().iter().all(|change| change["gained"] == true));
        assert!(!diff["changes"].as_array().unwrap().is_empty());
        let back = json!({ "version": 1 });
        let back = scene.ask(Method::POST, &format!("{path}/rollback"), Some(back)).await;
        assert_eq!(back["version"], 3);
        let versions = scene.ask(Method::GET, &format!("{path}/versions"), None).await;
        assert_eq!(versions["versions"][0]["comment"], "back to version 1");
        assert_eq!(versions["versions"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_network_is_not_there_under_ones_own() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        for name in ["mine", "theirs"] {
            scene.network(name).await;
        }
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let token = |network| Some(json!({ "network": network, "scopes": scopes }));
        let made = scene.ask(Method::POST, "/tokens", token("mine")).await;
        let mine = made["secret"].as_str().unwrap();
        let their_token = scene.ask(Method::POST, "/tokens", token("theirs")).await;
        let their_token = their_token["token"]["id"].as_str().unwrap().to_owned();
        let key = scene.key("theirs", json!({ "tags": ["tag:web"] })).await;
        let node = crate::agent::Agent::join(scene.client(), &key, 1).await.id();
        let keys = scene.ask(Method::GET, "/networks/theirs/keys", None).await;
        let key = keys["keys"][0]["id"].as_str().unwrap().to_owned();
        let all = ["nodes", "keys", "audit"].map(|what| format!("/networks/theirs/{what}"));
        let mut before = Vec::new();
        for path in &all {
            before.push(scene.ask(Method::GET, path, None).await);
        }
        for (method, path, body) in [
            (Method::GET, format!("/networks/mine/nodes/{node}"), None),
            (Method::PATCH, format!("/networks/mine/nodes/{node}"), Some(json!({ "name": "x" }))),
            (Method::DELETE, format!("/networks/mine/nodes/{node}"), None),
            (Method::DELETE, format!("/networks/mine/keys/{key}"), None),
            (Method::DELETE, format!("/tokens/{their_token}"), None),
        ] {
            let (status, answer) = scene.ask_as(mine, method.clone(), &path, body).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        }
        for (path, before) in all.iter().zip(before) {
            assert_eq!(scene.ask(Method::GET, path, None).await, before, "{path}");
        }
        let path = format!("/networks/theirs/flows?node={node}");
        let (status, _) = scene.ask_as(mine, Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_is_kept_as_it_is_and_commands_nothing() {
    const ODD: &str = "'); DROP TABLE nodes; -- \"%_\\ \u{202e}\u{1f980}";
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "description": ODD })).await;
        let node = crate::agent::Agent::join(scene.client(), &key, 1).await.id();
        let put = json!({ "text": OPEN, "comment": ODD });
        scene.ask(Method::PUT, "/networks/home/policy", Some(put)).await;
        let keys = scene.ask(Method::GET, "/networks/home/keys", None).await;
        assert_eq!(keys["keys"][0]["description"], ODD);
        let versions = scene.ask(Method::GET, "/networks/home/policy/versions", None).await;
        assert_eq!(versions["versions"][0]["comment"], ODD);
        let odd = "%27%29%3B+DROP+TABLE+nodes%3B--";
        for path in ["nodes?after=", "keys?after=", "flows?node=", "flows?address=", "flows?event="]
        {
            let path = format!("/networks/home/{path}{odd}");
            let (status, answer) = scene.ask_as(&scene.root, Method::GET, &path, None).await;
            assert!(!status.is_server_error(), "{path}: {answer}");
        }
        for body in [json!({ "user": ODD }), json!({ "tags": [ODD] }), json!({ "name": ODD })] {
            let path = format!("/networks/home/nodes/{node}");
            let (status, answer) =
                scene.ask_as(&scene.root, Method::PATCH, &path, Some(body)).await;
            assert!(status.is_client_error(), "{status} {answer}");
        }
        let nodes = scene.ask(Method::GET, "/networks/home/nodes", None).await;
        assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1);
    }
}

/// Goes through a list by pages of two; gives what tells the items apart.
async fn pages(scene: &Scene, path: &str, list: &str, id: &str) -> BTreeSet<String> {
    let turn = if path.contains("versions") || path.contains("flows") { "before" } else { "after" };
    let (mut seen, mut from) = (BTreeSet::new(), String::new());
    loop {
        let page = scene.ask(Method::GET, &format!("{path}?limit=2{from}"), None).await;
        let items = page[list].as_array().unwrap();
        assert!(items.len() <= 2, "{path}");
        for item in items {
            assert!(seen.insert(item[id].to_string()), "{path}: {} twice", item[id]);
        }
        let next = &page["next"];
        if next.is_null() {
            return seen;
        }
        let next = next.as_str().map_or_else(|| next.to_string(), str::to_owned);
        from = format!("&{turn}={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        for number in 0..5 {
            scene.network(&format!("n{number}")).await;
        }
        let key = scene.key("n0", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let mut nodes = Vec::new();
        for number in 1..=5 {
            scene.key("n0", json!({ "tags": ["tag:web"] })).await;
            scene.policy("n0", OPEN).await;
            let token = json!({ "network": "n0", "scopes": ["nodes:read"] });
            scene.ask(Method::POST, "/tokens", Some(token)).await;
            nodes.push(crate::agent::Agent::join(scene.client(), &key, number).await);
        }
        let flow = |port: u16| {
            let flow = json!({ "at": 1, "event": "start", "protocol": 6, "source": "100.64.0.1",
                "source_port": port, "destination": "100.64.0.2", "destination_port": 22 });
            serde_json::from_value(flow).unwrap()
        };
        let report = Report { flows: (1..=5).map(flow).collect(), ..Report::default() };
        nodes[0].client.report(&nodes[0].session, &report).await.unwrap();
        for (path, list, id, least) in [
            ("/networks", "networks", "name", 5),
            ("/tokens", "tokens", "id", 5),
            ("/audit", "entries", "number", 5),
            ("/networks/n0/nodes", "nodes", "id", 5),
            ("/networks/n0/keys", "keys", "id", 6),
            ("/networks/n0/audit", "entries", "number", 10),
            ("/networks/n0/policy/versions", "versions", "version", 6),
            ("/networks/n0/flows", "flows", "number", 5),
        ] {
            let seen = pages(&scene, path, list, id).await;
            assert!(seen.len() >= least, "{path}: {seen:?}");
            let all = scene.ask(Method::GET, &format!("{path}?limit=1000"), None).await;
            assert_eq!(all[list].as_array().unwrap().len(), seen.len(), "{path}");
            assert!(all["next"].is_null(), "{path}");
        }
    }
}
