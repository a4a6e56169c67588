//! Relay tickets, and the keys that sign them.

use std::time::{Duration, Instant};

use proto::control::{RelayTicket, Report};
use proto::key::PublicKey;
use proto::ticket::{ControlKeyId, UnixSeconds, VerifyingKey};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::agent::{Agent, wireguard_key};
use crate::scene::{Database, OPEN, Scene};

/// Who signed it, if it is good.
fn signer(ticket: &RelayTicket, keys: &[(ControlKeyId, VerifyingKey)]) -> Option<ControlKeyId> {
    let good = |(_, key): &&(ControlKeyId, VerifyingKey)| ticket.ticket.verify(key).is_ok();
    keys.iter().find(good).map(|(id, _)| *id)
}

async fn keys(scene: &Scene) -> Vec<(ControlKeyId, VerifyingKey)> {
    let kept = scene.server.app().store().control_keys().await.unwrap();
    kept.into_iter().map(|kept| (kept.id, kept.key)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_for_the_nodes_keys_and_signed() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
        let mut one = Agent::join(scene.client(), &key, 1).await;
        let keys = keys(&scene).await;
        let ticket = one.netmap.ticket.clone().unwrap();
        assert_eq!(signer(&ticket, &keys), Some(ControlKeyId(1)));
        let claims = ticket.ticket.claims();
        assert_eq!((claims.node, claims.network), (wireguard_key(1), one.netmap.network.id));
        assert!(claims.not_after > control::clock::now());
        assert!(claims.not_after <= UnixSeconds(control::clock::now().0 + 3600));
        assert!(ticket.next.is_none());
        // The next key has its ticket before it is used.
        let next = wireguard_key(50);
        let report = Report { next_key: Some(next), ..Report::default() };
        one.client.report(&one.session, &report).await.unwrap();
        let of = |ticket: &Option<RelayTicket>| -> Option<PublicKey> {
            Some(ticket.as_ref()?.next.as_ref()?.claims().node)
        };
        one.until("a ticket for it", |netmap| of(&netmap.ticket) == Some(next)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_sign_with_a_new_key_when_its_time_has_come() {
    let database = Database::postgres().await;
    let scenes = [Scene::start(&database).await, Scene::start(&database).await];
    let here = &scenes[0];
    here.network("home").await;
    here.policy("home", OPEN).await;
    let key = here.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    // One that signs later changes nothing yet.
    let made = here.ask(Method::POST, "/control-keys?signs_in=86400", None).await;
    let [first, second] = [&made["keys"][0], &made["keys"][1]];
    assert_eq!(second["id"], 2);
    assert_eq!(
        second["signs_from"].as_u64().unwrap() - second["created"].as_u64().unwrap(),
        86_400
    );
    assert!(first["signs_from"].as_u64() <= first["created"].as_u64());
    let one = Agent::join(here.client(), &key, 1).await;
    let known = keys(here).await;
    assert_eq!(signer(one.netmap.ticket.as_ref().unwrap(), &known), Some(ControlKeyId(1)));

    here.ask(Method::POST, "/control-keys?signs_in=0", None).await;
    let known = keys(here).await;
    assert_eq!(known.len(), 3);
    for (scene, mut seed) in scenes.iter().zip([100, 200]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            seed += 1;
            let node = Agent::join(scene.client(), &key, seed).await;
            if signer(node.netmap.ticket.as_ref().unwrap(), &known) == Some(ControlKeyId(3)) {
                break;
            }
            assert!(Instant::now() < deadline, "it signs with the old key still");
        }
    }
    let root = &here.root;
    let (status, _) =
        here.ask_as(root, Method::POST, "/control-keys?signs_in=99999999", None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let log = here.ask(Method::GET, "/audit", None).await;
    let made = log["entries"].as_array().unwrap().iter();
    let made: Vec<_> = made.filter(|entry| entry["action"] == "control-key.create").collect();
    assert_eq!(made.len(), 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_key_is_retired_when_its_last_ticket_has_ended() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.ask(Method::POST, "/control-keys?signs_in=0", None).await;
        scene.ask(Method::POST, "/control-keys?signs_in=86400", None).await;
        let retire = async |id: &str| {
            let path = format!("/control-keys/{id}");
            scene.ask_as(&scene.root, Method::DELETE, &path, None).await
        };
        for (id, expected, why) in [
            ("1", StatusCode::CONFLICT, "good for"),
            ("2", StatusCode::CONFLICT, "signs tickets"),
            ("3", StatusCode::CONFLICT, "when its time comes"),
            ("9", StatusCode::NOT_FOUND, "no such control key"),
            ("x", StatusCode::NOT_FOUND, "no such control key"),
        ] {
            let (status, problem) = retire(id).await;
            assert_eq!(status, expected, "{id}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
        }
        let store = scene.server.app().store();
        let later = UnixSeconds(control::clock::now().0 + 3_601);
        store.retire_control_key(ControlKeyId(1), later, "test").await.unwrap().unwrap();
        let left: Vec<u32> = keys(&scene).await.iter().map(|(id, _)| id.0).collect();
        assert_eq!(left, [2, 3]);
        let log = scene.ask(Method::GET, "/audit", None).await;
        let entries = log["entries"].as_array().unwrap().iter();
        let retired = entries.filter(|entry| entry["action"] == "control-key.retire");
        assert_eq!(retired.count(), 1, "{log}");
        scene.server.drain(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_have_another_key_each_day_and_old_ones_go_on() {
    let database = Database::postgres().await;
    let scenes = [Scene::start(&database).await, Scene::start(&database).await];
    let [here, there] = &scenes;
    here.network("home").await;
    let key = here.key("home", json!({ "tags": ["tag:web"] })).await;
    let node = Agent::join(here.client(), &key, 1).await;
    let created = async || {
        let log = here.ask(Method::GET, "/audit", None).await;
        let entries = log["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == "session-key.create").count()
    };
    // A database that never had one gets the first at the first sweep, of whichever instance.
    let deadline = Instant::now() + Duration::from_secs(20);
    while created().await < 1 {
        assert!(Instant::now() < deadline, "there is no key of today");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seal = control::core::seal::SealKey::parse(crate::scene::SEAL).unwrap();
    let tomorrow = UnixSeconds(control::clock::now().0 + 25 * 3_600);
    for scene in &scenes {
        scene.server.app().store().rotate_session_key(&seal, tomorrow).await.unwrap();
    }
    assert_eq!(created().await, 2, "it is made once");
    // What was begun by the key before goes on, at both.
    for scene in [here, there] {
        scene.client().report(&node.session, &Report::default()).await.unwrap();
        scene.client().log_in(node.id(), &node.key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_by_one_instance_cuts_a_node_of_the_other_off_within_a_second() {
    let database = Database::postgres().await;
    let scenes = [Scene::start(&database).await, Scene::start(&database).await];
    let [here, there] = &scenes;
    here.network("home").await;
    here.policy("home", OPEN).await;
    let key = here.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let mut one = Agent::join(here.client(), &key, 1).await;
    let mut two = Agent::join(there.client(), &key, 2).await;
    let (a, b) = (one.id(), two.id());
    one.until("both are there", |netmap| netmap.peers.contains_key(&b)).await;
    two.until("both are there", |netmap| netmap.peers.contains_key(&a)).await;
    let start = Instant::now();
    // Its own instance has the news by `NOTIFY` only.
    here.ask(Method::DELETE, &format!("/networks/home/nodes/{b}"), None).await;
    assert_eq!(two.end().await, proto::control::EndReason::Revoked);
    one.until("it is gone", |netmap| !netmap.peers.contains_key(&b)).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for scene in [here, there] {
        let refused = scene.client().report(&two.session, &Report::default()).await.unwrap_err();
        assert!(refused.is_unauthorized(), "{refused}");
    }
}
