//! What nodes are told, and when.

use std::time::{Duration, Instant};

use control::clock::now;
use control::hub::Sweep;
use proto::control::{Applied, EndReason, FlowEvent, FlowRecord, Netmap, RenewRequest, Report};
use proto::ticket::UnixSeconds;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::agent::{Agent, request, signing_key, wireguard_key};
use crate::scene::{Database, OPEN, Scene};

const WEB: &str = r#"{
    "tagOwners": { "tag:web": [], "tag:db": [] },
    "acls": [{ "action": "accept", "src": ["tag:web"], "dst": ["tag:db:5432"], "proto": "tcp" }],
}"#;

async fn home(database: &Database, policy: &str) -> (Scene, String, String) {
    let scene = Scene::start(database).await;
    scene.network("home").await;
    scene.policy("home", policy).await;
    let key = |tag: &str| json!({ "tags": [tag], "reusable": true });
    let web = scene.key("home", key("tag:web")).await;
    let db = scene.key("home", key("tag:db")).await;
    (scene, web, db)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_of_those_that_policy_joins_it_with() {
    for database in Database::each().await {
        let (scene, web, db) = home(&database, WEB).await;
        let mut one = Agent::join(scene.client(), &web, 1).await;
        let two = Agent::join(scene.client(), &web, 2).await;
        let mut data = Agent::join(scene.client(), &db, 3).await;
        let (a, b, d) = (one.id(), two.id(), data.id());
        one.until("the database has come", |netmap| netmap.peers.contains_key(&d)).await;
        assert_eq!(one.peers(), [d], "the other of its kind is none of its business");
        let mut both = vec![a, b];
        both.sort_unstable();
        assert_eq!(data.peers(), both);
        let filter: policy::Filter = serde_json::from_str(data.netmap.filter.get()).unwrap();
        assert_eq!(filter.flows().len(), 1);

        // What it reports, its peers hear.
        let endpoints = vec!["192.0.2.7:41641".parse().unwrap()];
        let report = Report { endpoints: Some(endpoints.clone()), ..Report::default() };
        two.client.report(&two.session, &report).await.unwrap();
        data.until("the endpoint", |netmap| netmap.peers[&b].endpoints == endpoints).await;

        // Another policy parts them.
        scene.policy("home", r#"{ "acls": [] }"#).await;
        data.until("it is alone", |netmap| netmap.peers.is_empty()).await;
        one.until("it is alone", |netmap| netmap.peers.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_cuts_a_node_off_within_a_second() {
    for database in Database::each().await {
        let (scene, web, _) = home(&database, OPEN).await;
        let mut one = Agent::join(scene.client(), &web, 1).await;
        let mut two = Agent::join(scene.client(), &web, 2).await;
        let b = two.id();
        one.until("both are there", |netmap| netmap.peers.contains_key(&b)).await;
        let start = Instant::now();
        scene.ask(Method::DELETE, &format!("/networks/home/nodes/{b}"), None).await;
        one.until("it is gone", |netmap| !netmap.peers.contains_key(&b)).await;
        assert_eq!(two.end().await, EndReason::Revoked);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        // Its session opens nothing any more, and it gets no other.
        let report = two.client.report(&two.session, &Report::default()).await.unwrap_err();
        assert!(report.is_unauthorized(), "{report}");
        assert!(two.client.log_in(b, &two.key).await.unwrap_err().is_unauthorized());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_spread_before_it_is_used() {
    for database in Database::each().await {
        let (scene, web, _) = home(&database, OPEN).await;
        let mut one = Agent::join(scene.client(), &web, 1).await;
        let two = Agent::join(scene.client(), &web, 2).await;
        let (b, next) = (two.id(), wireguard_key(99));
        let rotate = Report { key: Some(next), ..Report::default() };
        let too_early = two.client.report(&two.session, &rotate).await.unwrap_err();
        assert!(too_early.to_string().contains("next_key"), "{too_early}");
        let announce = Report { next_key: Some(next), ..Report::default() };
        two.client.report(&two.session, &announce).await.unwrap();
        one.until("it is ready", |netmap| {
            netmap.peers.get(&b).is_some_and(|peer| peer.next_key == Some(next))
        })
        .await;
        assert_eq!(one.netmap.peers[&b].key, wireguard_key(2));
        two.client.report(&two.session, &rotate).await.unwrap();
        one.until("it is used", |netmap| netmap.peers[&b].key == next).await;
        assert_eq!(one.netmap.peers[&b].next_key, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_broke() {
    let (scene, web, _) = home(&Database::sqlite(), OPEN).await;
    let mut one = Agent::join(scene.client(), &web, 1).await;
    one.hang_up();
    let deadline = Instant::now() + Duration::from_secs(10);
    while scene.server.app().hub().streams() > 0 {
        assert!(Instant::now() < deadline, "the server has not noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let two = Agent::join(scene.client(), &web, 2).await;
    let client = scene.client();
    let delta = one.resume(&client).await.unwrap().delta.expect("a delta, not everything");
    one.netmap.apply(delta).unwrap();
    assert_eq!(one.peers(), [two.id()]);
    // Also when the server has not noticed that the stream broke.
    scene.policy("home", r#"{ "acls": [] }"#).await;
    one.until("it is alone", |netmap| netmap.peers.is_empty()).await;
    let resumed = tokio::time::timeout(Duration::from_millis(300), one.resume(&client)).await;
    assert!(resumed.is_err(), "nothing is new");
    scene.policy("home", OPEN).await;
    one.until("together again", |netmap| !netmap.peers.is_empty()).await;
    // Who knows something else gets everything.
    one.netmap.revision += 1_000;
    assert!(one.resume(&client).await.unwrap().snapshot.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_hear_of_each_others_changes_and_nodes_may_move() {
    let database = Database::postgres().await;
    let (here, web, _) = home(&database, OPEN).await;
    let there = Scene::start(&database).await;
    let mut one = Agent::join(here.client(), &web, 1).await;
    let mut two = Agent::join(there.client(), &web, 2).await;
    let b = two.id();
    one.until("a node of the other instance", |netmap| {
        netmap.peers.get(&b).is_some_and(|peer| peer.online)
    })
    .await;
    let start = Instant::now();
    there.policy("home", r#"{ "acls": [] }"#).await;
    one.until("a change by the other", |netmap| netmap.peers.is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // A session of one opens the other.
    let moved = two.resume(&here.client()).await.unwrap();
    assert!(moved.snapshot.is_some());
    // The old instance ends; what it served goes on elsewhere.
    let drained = tokio::spawn(there.server.drain(Duration::from_secs(5)));
    here.policy("home", OPEN).await;
    one.until("together again", |netmap| netmap.peers.contains_key(&b)).await;
    drained.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drains_says_so() {
    let (scene, web, _) = home(&Database::sqlite(), OPEN).await;
    let mut one = Agent::join(scene.client(), &web, 1).await;
    let drained = tokio::spawn(scene.server.drain(Duration::from_secs(10)));
    assert_eq!(one.end().await, EndReason::Draining);
    drained.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_keys_are_renewed_and_end() {
    let (scene, web, _) = home(&Database::sqlite(), OPEN).await;
    let mut one = Agent::join(scene.client(), &web, 1).await;
    let mut two = Agent::join(scene.client(), &web, 2).await;
    let (a, b) = (one.id(), two.id());
    let renewal = RenewRequest::new(b, &two.key, &signing_key(77));
    two.client.renew(&two.session, &renewal).await.unwrap();
    assert!(two.client.log_in(b, &two.key).await.unwrap_err().is_unauthorized());
    two.session = two.client.log_in(b, &signing_key(77)).await.unwrap();
    let by_another = RenewRequest::new(b, &two.key, &signing_key(78));
    assert!(two.client.renew(&two.session, &by_another).await.is_err(), "not by the key of today");

    one.until("both are there", |netmap| netmap.peers.contains_key(&b)).await;
    let path = format!("/networks/home/nodes/{a}");
    scene.ask(Method::PATCH, &path, Some(json!({ "expire": true }))).await;
    two.until("the other's key has ended", |netmap| netmap.peers.is_empty()).await;
    assert_eq!(one.end().await, EndReason::Expired);
    // It comes again by its enrolment key, as the same node.
    let again = Agent::join(scene.client(), &web, 1).await;
    assert_eq!((again.id(), &again.enrolled.addresses), (a, &one.enrolled.addresses));
    two.until("it is back", |netmap| netmap.peers.contains_key(&a)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_nodes_vanish_when_they_are_gone() {
    let database = Database::sqlite();
    let sweep = Sweep { every: Duration::from_millis(100), dead_after: 40, ephemeral_after: 1 };
    let scene = Scene::start_with(&database, sweep, database.config()).await;
    scene.network("home").await;
    scene.policy("home", OPEN).await;
    let lasting = scene.key("home", json!({ "tags": ["tag:web"] })).await;
    let fleeting = scene.key("home", json!({ "tags": ["tag:web"], "ephemeral": true })).await;
    let mut one = Agent::join(scene.client(), &lasting, 1).await;
    let two = Agent::join(scene.client(), &fleeting, 2).await;
    let b = two.id();
    one.until("it is there", |netmap| netmap.peers.get(&b).is_some_and(|peer| peer.online)).await;
    drop(two);
    one.until("it is gone", |netmap| !netmap.peers.contains_key(&b)).await;
    let (status, _) =
        scene.ask_as(&scene.root, Method::GET, &format!("/networks/home/nodes/{b}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_key_ends_by_itself_is_let_go_of_and_may_come_again() {
    for database in Database::each().await {
        let (scene, web, _) = home(&database, OPEN).await;
        let mut one = Agent::join(scene.client(), &web, 1).await;
        let mut two = Agent::join(scene.client(), &web, 2).await;
        let (a, b) = (one.id(), two.id());
        one.until("its peer", |netmap| netmap.peers.contains_key(&b)).await;
        let store = scene.server.app().store();
        let network = store.network("home").await.unwrap().id;
        let mut write = store.write(network, now()).await.unwrap();
        let mut node = write.node(b).await.unwrap();
        node.expires = Some(UnixSeconds(now().0 + 1));
        write.put_node(&node).await.unwrap();
        write.commit().await.unwrap();
        one.until("it is gone", |netmap| !netmap.peers.contains_key(&b)).await;
        assert_eq!(two.end().await, EndReason::Expired);
        let log = scene.ask(Method::GET, "/networks/home/audit", None).await;
        let last = log["entries"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["action"], &last["actor"]), (&json!("node.expire"), &json!("server")));
        let again = scene.client().enrol(&request(&web, 2)).await.unwrap();
        let mut two = Agent::arrive(scene.client(), again, 2).await;
        two.until("it is back", |netmap| netmap.peers.contains_key(&a)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_an_instance_that_is_not_heard_of_any_more_are_gone() {
    for database in Database::each().await {
        let sweep =
            Sweep { every: Duration::from_millis(200), dead_after: 2, ephemeral_after: 600 };
        let scene = Scene::start_with(&database, sweep, database.config()).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
        let mut one = Agent::join(scene.client(), &key, 1).await;
        let two = scene.client().enrol(&request(&key, 2)).await.unwrap().node;
        let store = scene.server.app().store();
        let network = store.network("home").await.unwrap().id;
        // As an instance leaves it that was killed.
        store.beat("another").await.unwrap();
        store.connect_node(network, two, "another", now()).await.unwrap();
        let online = |wanted: bool| {
            move |netmap: &Netmap| netmap.peers.get(&two).is_some_and(|peer| peer.online == wanted)
        };
        one.until("it is there", online(true)).await;
        one.until("it is gone", online(false)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_others_took_for_gone_is_there_again() {
    for database in Database::each().await {
        let (scene, web, _) = home(&database, OPEN).await;
        let one = Agent::join(scene.client(), &web, 1).await;
        let (store, hub) = (scene.server.app().store(), scene.server.app().hub());
        let network = store.network("home").await.unwrap().id;
        let now = UnixSeconds(1);
        store.disconnect_node(network, one.id(), hub.instance(), now).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !store.node(network, one.id()).await.unwrap().node.online {
            assert!(Instant::now() < deadline, "it stays offline, although it is heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_kept_and_found() {
    for database in Database::each().await {
        let (scene, web, _) = home(&database, OPEN).await;
        let one = Agent::join(scene.client(), &web, 1).await;
        let flow = |at: u64, event, destination: &str| FlowRecord {
            at: UnixSeconds(at),
            event,
            protocol: 6,
            source: "100.64.0.1".parse().unwrap(),
            source_port: 4000,
            destination: destination.parse().unwrap(),
            destination_port: 22,
            packets: 1,
            bytes: 60,
            reason: None,
        };
        let flows = vec![
            flow(10, FlowEvent::Start, "100.64.0.2"),
            flow(20, FlowEvent::Denied, "100.64.0.3"),
            flow(30, FlowEvent::End, "100.64.0.2"),
        ];
        let applied = Some(Applied { revision: one.netmap.revision, generation: 1 });
        let report = Report { flows, applied, ..Report::default() };
        one.client.report(&one.session, &report).await.unwrap();
        let ask = |query: &str| {
            let path = format!("/networks/home/flows?{query}");
            let scene = &scene;
            async move {
                let found = scene.ask(Method::GET, &path, None).await;
                let flows = found["flows"].as_array().unwrap().clone();
                flows.iter().map(|flow| flow["at"].as_u64().unwrap()).collect::<Vec<_>>()
            }
        };
        assert_eq!(ask("").await, [30, 20, 10]);
        assert_eq!(ask("event=denied").await, [20]);
        assert_eq!(ask("address=100.64.0.2&since=15").await, [30]);
        assert_eq!(ask("limit=1&before=3").await, [20]);
        let nobody = format!("node=n{}", "0".repeat(32));
        assert_eq!(ask(&nobody).await, [0_u64; 0]);
    }
}
