//! What may be asked by who has shown no right, from one source; and who that is behind a proxy.

use control::hub::Sweep;
use control::server::Listen;
use proto::control::Report;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::agent::{Agent, request, signing_key};
use crate::enrolment::status;
use crate::scene::{Database, Scene};

/// A server that believes its proxy who asks.
async fn behind_a_proxy() -> Scene {
    let database = Database::sqlite();
    let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), behind_proxy: true };
    let config = control::server::Config { listen, ..database.config() };
    Scene::start_with(&database, Sweep::default(), config).await
}

/// How many of so many requests are let in.
async fn let_in(count: u32, request: impl Fn() -> RequestBuilder) -> u32 {
    let mut let_in = 0;
    for _ in 0..count {
        let answer = request().send().await.unwrap();
        let status = answer.status().as_u16();
        if status == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
        }
        let_in += u32::from(status != 429);
    }
    let_in
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_shows_no_right_is_slowed_down_and_others_are_not() {
    for (method, path, body) in [
        (Method::POST, "/agent/v1/challenge", format!("{{\"node\":\"n{}\"}}", "1".repeat(32))),
        (Method::POST, "/agent/v1/enrol", "{ no JSON".to_owned()),
        (Method::POST, "/agent/v1/session", "[]".to_owned()),
        (Method::GET, "/api/v1/openapi.json", String::new()),
    ] {
        let scene = behind_a_proxy().await;
        let from = |source: &str| {
            let request = scene.http.request(method.clone(), format!("{}{path}", scene.url));
            request.header("x-forwarded-for", source.to_owned()).body(body.clone())
        };
        let start = std::time::Instant::now();
        // What an honest proxy adds is the last entry: the first is whatever somebody made up.
        let mut count = 0;
        for made_up in 1..=13 {
            count += let_in(100, || from(&format!("192.0.2.{made_up}, 198.51.100.7"))).await;
        }
        let seconds = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
        assert!(count >= 1_000, "{path}: {count}");
        assert!(count <= 1_000 + 20 * seconds, "{path}: {count} in {seconds} s");
        assert_eq!(let_in(5, || from("198.51.100.8")).await, 5, "{path}: another source");
        // The proxy itself, where it names nobody.
        assert_eq!(let_in(5, || from("nobody")).await, 5, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_one_address_do_not_use_up_what_strangers_have() {
    let scene = Scene::start(&Database::sqlite()).await;
    scene.network("home").await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let node = Agent::join(scene.client(), &key, 1).await;
    let client = scene.client();
    for _ in 0..600 {
        client.log_in(node.id(), &signing_key(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_keys_does_not_shut_out_the_nodes_at_the_same_address() {
    let scene = Scene::start(&Database::sqlite()).await;
    scene.network("home").await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let node = Agent::join(scene.client(), &key, 1).await;
    let mut last = 0;
    for number in 0..12 {
        let guess = format!("nwk_0123456789abcdef_{number:064x}");
        last = status(&scene.client().enrol(&request(&guess, 2)).await.unwrap_err());
    }
    assert_eq!(last, 429);
    let (client, id) = (&node.client, node.id());
    let session = client.log_in(id, &signing_key(1)).await.unwrap();
    client.report(&session, &Report::default()).await.unwrap();
    let mut stream = client.stream(&session, None).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().snapshot.is_some());
    // A forged session is a guess like others.
    let url = format!("{}/agent/v1/report", scene.url);
    let forged = scene.http.post(url).bearer_auth("nws_guess").body("{}").send().await.unwrap();
    assert_eq!(forged.status().as_u16(), 429);
    // An operator sees it.
    let operators = scene.server.addresses().operators.unwrap();
    let page = scene.http.get(format!("http://{operators}/metrics")).send().await.unwrap();
    let page = page.text().await.unwrap();
    for line in ["enrolments_total 1", "refused_total 10", "sources_locked_out 1", "nodes 1"] {
        assert!(page.contains(&format!("nearwire_control_{line}\n")), "no {line}: {page}");
    }
    for name in ["nodes_online", "streams", "networks_loaded"] {
        assert!(page.contains(&format!("nearwire_control_{name} ")), "no {name}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lockout_behind_a_proxy_is_of_whom_the_proxy_names() {
    let scene = behind_a_proxy().await;
    let ask = async |source: &str, token: &str| {
        let request = scene.http.get(format!("{}/api/v1/networks", scene.url));
        let request = request.header("x-forwarded-for", source.to_owned()).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let guess = format!("nwa_0123456789abcdef_{:064x}", 7);
    for _ in 0..12 {
        ask("203.0.113.5, 2001:db8::1", &guess).await;
    }
    // The same /64, whatever stands before it.
    assert_eq!(ask("2001:db8::2", &scene.root).await, 429);
    assert_eq!(ask("203.0.113.5", &scene.root).await, 200);
    assert_eq!(ask("2001:db8::1, 203.0.113.5", &scene.root).await, 200);
}
