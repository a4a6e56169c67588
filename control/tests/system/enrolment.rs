//! Who gets in, and as whom.

use std::collections::HashSet;

use control_client::ClientError;
use proto::control::{AuthKey, Standing};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, request};
use crate::scene::{Database, OPEN, Scene};

pub(crate) fn status(error: &ClientError) -> u16 {
    match error {
        ClientError::Refused { status, .. } => *status,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_key_lets_one_node_in_and_the_same_node_again() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
        let client = scene.client();
        let first = client.enrol(&request(&key, 1)).await.unwrap();
        assert_eq!((first.name.as_str(), first.approved), ("host", true));
        assert_eq!(first.addresses[0].to_string(), "100.64.0.1");
        let again = client.enrol(&request(&key, 1)).await.unwrap();
        assert_eq!((again.node, &again.addresses), (first.node, &first.addresses));
        let second = client.enrol(&request(&key, 2)).await.unwrap_err();
        assert_eq!(status(&second), 401);
        scene.server.drain(std::time::Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_through_two_instances_get_addresses_of_their_own() {
    let database = Database::postgres().await;
    let scenes = [Scene::start(&database).await, Scene::start(&database).await];
    scenes[0].network("home").await;
    let body = json!({ "tags": ["tag:web"], "reusable": true });
    let key = scenes[0].key("home", body).await;
    let one_shot = scenes[0].key("home", json!({ "tags": ["tag:web"] })).await;
    let enrol = |key: &str, seed: u16| {
        let (client, request) = (scenes[usize::from(seed) % 2].client(), request(key, seed));
        tokio::spawn(async move { client.enrol(&request).await })
    };
    let many: Vec<_> = (0..100).map(|seed| enrol(&key, seed)).collect();
    let racers: Vec<_> = (200..220).map(|seed| enrol(&one_shot, seed)).collect();
    let (mut addresses, mut names) = (HashSet::new(), HashSet::new());
    for node in many {
        let node = node.await.unwrap().unwrap();
        assert!(names.insert(node.name));
        for address in node.addresses {
            assert!(addresses.insert(address), "{address} is given twice");
        }
    }
    let mut winners = 0;
    for racer in racers {
        winners += usize::from(racer.await.unwrap().is_ok());
    }
    assert_eq!((addresses.len(), winners), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_refused_and_who_goes_on_is_locked_out() {
    let scene = Scene::start(&Database::sqlite()).await;
    scene.network("home").await;
    let client = scene.client();
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;

    let mut forged = request(&key, 1);
    forged.wireguard_key = proto::key::PublicKey::from([3; 32]);
    assert_eq!(status(&client.enrol(&forged).await.unwrap_err()), 400, "not signed");

    let id = scene.ask(Method::GET, "/networks/home/keys", None).await["keys"][0]["id"].clone();
    let path = format!("/networks/home/keys/{}", id.as_str().unwrap());
    scene.ask(Method::DELETE, &path, None).await;
    let revoked = client.enrol(&request(&key, 1)).await.unwrap_err();
    assert_eq!(status(&revoked), 401);

    // One that has ended is refused like one that never was.
    let short = scene.key("home", json!({ "tags": ["tag:web"], "lasts": 1 })).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(status(&client.enrol(&request(&short, 1)).await.unwrap_err()), 401, "it has ended");

    let mut statuses = Vec::new();
    for number in 0..12 {
        let mut guess = request(&format!("nwk_0123456789abcdef_{number:064x}"), 1);
        guess.auth_key = AuthKey::new(guess.auth_key.as_str());
        statuses.push(status(&client.enrol(&guess).await.unwrap_err()));
    }
    assert_eq!((statuses[0], statuses[11]), (401, 429), "{statuses:?}");
    // Who has failed too often is not heard even with a good token.
    let (locked, problem) = scene.ask_as(&scene.root, Method::GET, "/networks", None).await;
    assert_eq!(locked, StatusCode::TOO_MANY_REQUESTS);
    assert!(problem["retry_after"].as_u64().unwrap() >= 30, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_approval_is_told_when_it_has_it() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let reusable = json!({ "tags": ["tag:web"], "reusable": true });
        let key = scene.key("home", reusable).await;
        let body = json!({ "user": "alice@example.com", "manual_approval": true });
        let waiting = scene.key("home", body).await;
        let mut one = Agent::join(scene.client(), &key, 1).await;
        let mut two = Agent::join(scene.client(), &waiting, 2).await;
        assert_eq!(two.netmap.me.standing, Standing::Pending);
        assert!(two.peers().is_empty() && two.netmap.ticket.is_none());
        let path = format!("/networks/home/nodes/{}", two.id());
        scene.ask(Method::PATCH, &path, Some(json!({ "approved": true }))).await;
        let (a, b) = (one.id(), two.id());
        two.until("it has its peer", |netmap| netmap.peers.contains_key(&a)).await;
        assert_eq!(two.netmap.me.standing, Standing::Approved);
        assert!(two.netmap.ticket.is_some());
        one.until("its peer has come", |netmap| netmap.peers.contains_key(&b)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_used_when_they_are_approved_and_overlaps_are_refused() {
    let scene = Scene::start(&Database::sqlite()).await;
    scene.network("home").await;
    scene.policy("home", OPEN).await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let client = scene.client();
    let mut overlapping = request(&key, 3);
    overlapping.routes = vec!["100.64.0.0/16".parse().unwrap()];
    let refused = client.enrol(&overlapping).await.unwrap_err();
    assert!(refused.to_string().contains("overlaps the network's own"), "{refused}");

    let mut offering = request(&key, 1);
    offering.routes = vec!["192.168.7.0/24".parse().unwrap()];
    let router = client.enrol(&offering).await.unwrap();
    let mut other = Agent::join(client, &key, 2).await;
    let routes = |netmap: &proto::control::Netmap| netmap.peers[&router.node].routes.len();
    assert_eq!(routes(&other.netmap), 0);
    let path = format!("/networks/home/nodes/{}", router.node);
    let approve = |route: &str| Some(json!({ "approved_routes": [route] }));
    let (status, problem) =
        scene.ask_as(&scene.root, Method::PATCH, &path, approve("10.0.0.0/8")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let node: Value = scene.ask(Method::PATCH, &path, approve("192.168.7.0/24")).await;
    assert_eq!(node["routes"], json!(["192.168.7.0/24"]));
    other.until("the route is there", |netmap| routes(netmap) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_approved_for_one_node_and_a_longer_prefix_for_another() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let mut paths = Vec::new();
        for seed in [1, 2] {
            let mut offering = request(&key, seed);
            let routes = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"];
            offering.routes = routes.map(|route| route.parse().unwrap()).to_vec();
            let node = scene.client().enrol(&offering).await.unwrap();
            paths.push(format!("/networks/home/nodes/{}", node.node));
        }
        let approve = async |at: usize, routes: &[&str]| {
            let body = Some(json!({ "approved_routes": routes }));
            scene.ask_as(&scene.root, Method::PATCH, &paths[at], body).await
        };
        assert_eq!(approve(0, &["10.0.0.0/8", "0.0.0.0/0"]).await.0, StatusCode::OK);
        let (status, problem) = approve(1, &["10.0.0.0/8"]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("10.0.0.0/8 is approved for host (n"), "{detail}");
        // Within it, and beside another exit node.
        assert_eq!(approve(1, &["10.1.0.0/16", "0.0.0.0/0"]).await.0, StatusCode::OK);
        // What a node has it keeps, and what it gives up is free.
        assert_eq!(approve(0, &["10.0.0.0/8"]).await.0, StatusCode::OK);
        assert_eq!(approve(0, &[]).await.0, StatusCode::OK);
        assert_eq!(approve(1, &["10.0.0.0/8"]).await.0, StatusCode::OK);
        scene.server.drain(std::time::Duration::ZERO).await;
    }
}
