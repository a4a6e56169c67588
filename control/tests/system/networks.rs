//! What each network has of its own: addresses that come back, relays, flows up to a limit, and how long
//! keys are used.

use control::clock::now;
use control::core::ipam::{AddressPlan, Host, QUARANTINE};
use control::core::label;
use control::core::node::Node;
use control::store::{FlowQuery, KeptNetwork, Store, StoreError};
use proto::control::{FlowRecord, NodeId};
use proto::ticket::{NetworkId, UnixSeconds};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, signing_key, wireguard_key};
use crate::scene::{Database, OPEN, Scene};

async fn small_network(store: &Store) -> KeptNetwork {
    let plan = AddressPlan::new("10.9.0.0/28".parse().unwrap(), "fd00:9::/64".parse().unwrap());
    let id = NetworkId([9; 16]);
    store.create_network(id, "small", &plan.unwrap(), now(), "test").await.unwrap()
}

/// A node comes at a moment.
async fn come(
    store: &Store,
    network: NetworkId,
    seed: u16,
    at: UnixSeconds,
) -> Result<Node, StoreError> {
    let mut write = store.write(network, at).await?;
    let host = write.take_host().await?;
    let record = json!({
        "id": NodeId([u8::try_from(seed).unwrap(); 16]), "name": format!("node{seed}"), "host": host,
        "owner": { "tags": ["tag:web"] }, "standing": "approved", "ephemeral": false,
        "node_key": signing_key(seed).verifying_key(), "key": wireguard_key(seed), "key_since": at,
        "next_key": null, "offered": [], "approved": [], "endpoints": [], "home": null,
        "online": false, "os": "", "agent": "", "created": at, "expires": null, "lapsed": false,
        "applied": null,
    });
    let node: Node = serde_json::from_value(record).unwrap();
    assert!(label::is_label(&node.name));
    write.add_node(&node).await?;
    write.commit().await?;
    Ok(node)
}

async fn go(store: &Store, network: NetworkId, node: &Node, at: UnixSeconds) {
    let mut write = store.write(network, at).await.unwrap();
    write.delete_node(node).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_rests_for_a_week_and_is_given_again_when_none_is_fresh() {
    for database in Database::each().await {
        let store = Store::open(&database.url).await.unwrap();
        let network = small_network(&store).await.id;
        let start = UnixSeconds(1_000_000);
        let mut nodes = Vec::new();
        for seed in 1..=14 {
            nodes.push(come(&store, network, seed, start).await.unwrap());
        }
        let full = come(&store, network, 20, start).await.unwrap_err().to_string();
        assert!(full.contains("all 14 addresses"), "{full}");
        go(&store, network, &nodes[4], UnixSeconds(start.0 + 10)).await;
        go(&store, network, &nodes[2], UnixSeconds(start.0 + 20)).await;
        let early = UnixSeconds(start.0 + 10 + QUARANTINE - 1);
        assert!(come(&store, network, 21, early).await.is_err(), "it rests");
        // What was refused has taken nothing, and who was first given back is first given again.
        let late = UnixSeconds(early.0 + 1);
        let again = come(&store, network, 22, late).await.unwrap();
        assert_eq!(again.host, Host(5));
        assert!(come(&store, network, 23, late).await.is_err(), "the other rests still");
        let later = UnixSeconds(late.0 + 10);
        assert_eq!(come(&store, network, 24, later).await.unwrap().host, Host(3));
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_relays_of_its_own_has_them_and_others_have_those_of_all() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        let mut nodes = Vec::new();
        for name in ["one", "two"] {
            scene.network(name).await;
            scene.policy(name, OPEN).await;
            let key = scene.key(name, json!({ "tags": ["tag:web"] })).await;
            nodes.push(Agent::join(scene.client(), &key, 1).await);
        }
        let [mut one, mut two]: [Agent; 2] = nodes.try_into().ok().unwrap();
        let named = |name: &str| {
            let region = json!({ "id": 1, "name": name, "relays": [{
                "host": format!("{name}.test"), "addresses": [], "tls_port": 443, "quic_port": 443,
                "certificates": [],
            }] });
            Some(json!({ "regions": [region] }))
        };
        let has = |netmap: &proto::control::Netmap, name: &str| {
            netmap.regions.iter().map(|region| region.name.as_str()).eq([name])
        };
        scene.ask(Method::PUT, "/regions", named("common")).await;
        one.until("those of all", |netmap| has(netmap, "common")).await;
        two.until("those of all", |netmap| has(netmap, "common")).await;
        scene.ask(Method::PUT, "/networks/one/regions", named("own")).await;
        one.until("its own", |netmap| has(netmap, "own")).await;
        scene.ask(Method::PUT, "/regions", named("other")).await;
        two.until("those of all still", |netmap| has(netmap, "other")).await;
        assert!(has(&one.netmap, "own"));
        scene.ask(Method::PUT, "/networks/one/regions", Some(json!({ "regions": [] }))).await;
        one.until("those of all again", |netmap| has(netmap, "other")).await;
        scene.server.drain(std::time::Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_flows_the_last_hundred_thousand_are_kept() {
    const KEPT: u64 = 100_000;
    let database = Database::sqlite();
    let store = Store::open(&database.url).await.unwrap();
    let network = small_network(&store).await.id;
    let flow: FlowRecord = serde_json::from_value(json!({
        "at": 1, "event": "start", "protocol": 6, "source": "10.9.0.1", "destination": "10.9.0.2",
    }))
    .unwrap();
    let flows = vec![flow; 1_000];
    for _ in 0..102 {
        let mut write = store.write(network, now()).await.unwrap();
        write.add_flows(NodeId([1; 16]), &flows).await.unwrap();
        write.commit().await.unwrap();
    }
    let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM flows").fetch_one(store.pool());
    assert_eq!(count.await.unwrap(), i64::try_from(KEPT).unwrap());
    let query = |before| FlowQuery { before, limit: 10, ..FlowQuery::default() };
    let newest = store.flows(network, &query(0)).await.unwrap();
    assert_eq!(newest[0].number, 102_000);
    let oldest = store.flows(network, &query(102_000 - KEPT + 3)).await.unwrap();
    assert_eq!(oldest.iter().map(|flow| flow.number).collect::<Vec<_>>(), [2_002, 2_001]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_keys_are_used_is_the_networks_to_say() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
        let mut node = Agent::join(scene.client(), &key, 1).await;
        let usual = node.netmap.me.rotate.unwrap().0;
        let since = usual - 30 * 24 * 3_600;
        let set = async |seconds: u64| {
            let body = Some(json!({ "key_lifetime": seconds }));
            scene.ask_as(&scene.root, Method::PATCH, "/networks/home", body).await
        };
        for wrong in [0, 3_599, 31_536_001, u64::MAX] {
            let (status, problem) = set(wrong).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains("`key_lifetime`"), "{problem}");
        }
        let (status, network) = set(7_200).await;
        assert_eq!((status, &network["key_lifetime"]), (StatusCode::OK, &json!(7_200)));
        let rotate = Some(UnixSeconds(since + 7_200));
        node.until("another time to rotate", |netmap| netmap.me.rotate == rotate).await;
        // The same again is no change.
        set(7_200).await;
        let log = scene.ask(Method::GET, "/networks/home/audit", None).await;
        let entries = log["entries"].as_array().unwrap();
        let changes: Vec<&Value> =
            entries.iter().filter(|entry| entry["action"] == "network.change").collect();
        assert_eq!(changes.len(), 1, "{log}");
        assert_eq!(changes[0]["detail"], r#"{"key_lifetime":7200}"#);
        scene.server.drain(std::time::Duration::ZERO).await;
    }
}
