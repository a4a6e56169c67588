//! The database goes away and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use throwaway_postgres::{Cluster, Durability};

use crate::agent::{Agent, request};
use crate::scene::{Database, OPEN, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_while_the_database_is_away_and_all_works_when_it_is_back() {
    let start = || Arc::new(Cluster::start(Durability::Lost).unwrap());
    let cluster = tokio::task::spawn_blocking(start).await.unwrap();
    let database = Database::postgres_of(cluster.clone()).await;
    let scene = Scene::start(&database).await;
    scene.network("home").await;
    scene.policy("home", OPEN).await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let mut one = Agent::join(scene.client(), &key, 1).await;
    let other = Agent::join(scene.client(), &key, 2).await;
    one.until("its peer", |netmap| netmap.peers.contains_key(&other.id())).await;

    let of = cluster.clone();
    tokio::task::spawn_blocking(move || of.stop()).await.unwrap().unwrap();
    let (status, problem) = scene.ask_as(&scene.root, Method::GET, "/networks", None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("database"), "{problem}");
    assert!(problem["retry_after"].is_u64(), "{problem}");
    let refused = scene.client().enrol(&request(&key, 3)).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    let ready = |url: String, http: reqwest::Client| async move {
        http.get(format!("{url}/readyz")).send().await.unwrap().status()
    };
    let (url, http) = (scene.url.clone(), scene.http.clone());
    assert_eq!(ready(url.clone(), http.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
    let health = http.get(format!("{url}/healthz")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "the process is well");
    assert_eq!(scene.server.app().hub().streams(), 2, "who listens goes on to listen");

    let of = cluster.clone();
    tokio::task::spawn_blocking(move || of.resume()).await.unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while ready(url.clone(), http.clone()).await != StatusCode::OK {
        assert!(Instant::now() < deadline, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let third = Agent::join(scene.client(), &key, 3).await;
    // By the stream that was there all the time.
    one.until("a node that came after", |netmap| netmap.peers.contains_key(&third.id())).await;
}
