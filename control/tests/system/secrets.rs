//! What lies in the database, and who can use it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use control::clock::now;
use control::core::seal::SealKey;
use control::store::Store;
use reqwest::Method;
use serde_json::json;

use crate::agent::Agent;
use crate::scene::{Database, OPEN, SEAL, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_seal_key_opens_nothing_until_it_is_the_right_one() {
    for database in Database::each().await {
        let store = Store::open(&database.url).await.unwrap();
        let right = SealKey::parse(SEAL).unwrap();
        let wrong = SealKey::parse(&BASE64_STANDARD.encode([9; 32])).unwrap();
        let made = store.secrets(&right, now()).await.unwrap();
        let refused = store.secrets(&wrong, now()).await.err().unwrap().to_string();
        assert!(refused.contains("was not sealed with this key"), "{refused}");
        assert!(store.rekey(&wrong, &right, now()).await.is_err());
        assert_eq!(store.rekey(&right, &wrong, now()).await.unwrap(), 2);
        assert!(store.secrets(&right, now()).await.is_err());
        let after = store.secrets(&wrong, now()).await.unwrap();
        let [after, made] =
            [&after, &made].map(|secrets| secrets.control.at(now()).key.verifying_key());
        assert_eq!(after, made);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_secrets_are_not_in_the_database() {
    let database = Database::sqlite();
    let scene = Scene::start(&database).await;
    scene.network("home").await;
    let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
    let secrets: Vec<String> = [&key, &scene.root]
        .iter()
        .map(|text| text.rsplit('_').next().unwrap().to_owned())
        .collect();
    scene.server.drain(std::time::Duration::ZERO).await;
    let file = database.url.trim_start_matches("sqlite://").split('?').next().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("tag:web"), "this is the database");
    for secret in secrets {
        assert!(!text.contains(&secret), "a secret lies in the database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_everything_and_cannot_be_changed_unseen() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        scene.policy("home", OPEN).await;
        let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
        let node = Agent::join(scene.client(), &key, 1).await;
        scene.ask(Method::DELETE, &format!("/networks/home/nodes/{}", node.id()), None).await;
        let log = scene.ask(Method::GET, "/networks/home/audit", None).await;
        let entries = log["entries"].as_array().unwrap();
        let actions: Vec<&str> =
            entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["policy.put", "key.create", "node.enrol", "node.revoke"]);
        assert!(!log.to_string().contains(key.rsplit('_').next().unwrap()));

        let store = scene.server.app().store();
        for (chain, last, hash) in store.chains().await.unwrap() {
            assert_eq!(store.verify_chain(&chain, last, hash).await.unwrap(), Ok(last));
        }
        let change = "UPDATE audit SET actor = 'nobody' WHERE action = 'node.enrol'";
        let refused = sqlx::query(change).execute(store.pool()).await.unwrap_err();
        assert!(refused.to_string().contains("only added to"), "{refused}");
        let delete = sqlx::query("DELETE FROM audit").execute(store.pool()).await;
        assert!(delete.is_err());
        // Who owns the database can take the triggers away, but is found out.
        for drop in match store.backend() {
            control::store::Backend::Sqlite => vec!["DROP TRIGGER audit_is_not_changed"],
            control::store::Backend::Postgres => {
                vec!["DROP TRIGGER audit_is_only_added_to ON audit"]
            }
        } {
            sqlx::query(drop).execute(store.pool()).await.unwrap();
        }
        sqlx::query(change).execute(store.pool()).await.unwrap();
        let network = scene.ask(Method::GET, "/networks/home", None).await;
        let id = network["id"].as_str().unwrap();
        let chains = store.chains().await.unwrap();
        let (chain, last, hash) = chains.into_iter().find(|(chain, ..)| chain == id).unwrap();
        let broken = store.verify_chain(&chain, last, hash).await.unwrap().unwrap_err();
        assert!(broken.to_string().contains("entry 3 was changed"), "{broken}");
    }
}

/// How many entries there are of acts by tokens, of the server and of the network.
async fn entries(scene: &Scene) -> usize {
    let mut count = 0;
    for path in ["/audit", "/networks/home/audit"] {
        let log = scene.ask(Method::GET, &format!("{path}?limit=1000"), None).await;
        let actors = log["entries"].as_array().unwrap().iter().map(|entry| &entry["actor"]);
        count += actors.filter(|actor| actor.as_str().unwrap().starts_with("token:")).count();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_leaves_one_entry_with_who_did_it() {
    let scene = Scene::start(&Database::postgres().await).await;
    scene.network("home").await;
    let new = json!({ "tags": ["tag:web"] });
    let key = scene.key("home", new.clone()).await;
    let node = Agent::join(scene.client(), &key, 1).await.id();
    let keys = scene.ask(Method::GET, "/networks/home/keys", None).await;
    let key = keys["keys"][0]["id"].as_str().unwrap().to_owned();
    let token = json!({ "scopes": ["nodes:read"] });
    let made = scene.ask(Method::POST, "/tokens", Some(token.clone())).await;
    let made = made["token"]["id"].as_str().unwrap().to_owned();
    let regions = json!({ "regions": [] });
    let mut acts = vec![
        ("POST /networks", String::new(), Some(json!({ "name": "other" }))),
        ("PATCH /networks/{network}", String::new(), Some(json!({ "flow_logs": 10 }))),
        ("PUT /networks/{network}/policy", String::new(), Some(json!({ "text": OPEN }))),
        ("POST /networks/{network}/policy/rollback", String::new(), Some(json!({ "version": 1 }))),
        ("POST /networks/{network}/keys", String::new(), Some(new)),
        ("DELETE /networks/{network}/keys/{key}", key, None),
        ("PATCH /networks/{network}/nodes/{node}", node.to_string(), Some(json!({ "name": "n" }))),
        ("DELETE /networks/{network}/nodes/{node}", node.to_string(), None),
        ("PUT /networks/{network}/regions", String::new(), Some(regions.clone())),
        ("PUT /regions", String::new(), Some(regions)),
        ("POST /tokens", String::new(), Some(token)),
        ("DELETE /tokens/{token}", made, None),
        ("POST /control-keys", "?signs_in=0".to_owned(), None),
    ];
    let log = scene.ask(Method::GET, "/networks/home/audit", None).await;
    let actor = log["entries"][0]["actor"].clone();
    assert!(actor.as_str().unwrap().starts_with("token:"), "{log}");
    for (operation, id, body) in &acts {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{network}", "home");
        let path = match path.rsplit_once("/{") {
            Some((path, _)) => format!("{path}/{id}"),
            None => path + id,
        };
        let before = entries(&scene).await;
        scene.ask(method.parse().unwrap(), &path, body.clone()).await;
        assert_eq!(entries(&scene).await, before + 1, "{operation}");
    }
    let before = entries(&scene).await;
    scene.ask(Method::DELETE, "/networks/other", None).await;
    assert_eq!(entries(&scene).await, before + 1);
    acts.push(("DELETE /networks/{network}", String::new(), None));
    // Its entry is looked at where its hour is let pass, in `tickets`.
    acts.push(("DELETE /control-keys/{key}", String::new(), None));
    // A policy that is only tried is no act.
    acts.push(("POST /networks/{network}/policy/check", String::new(), None));
    for path in ["/audit", "/networks/home/audit"] {
        let log = scene.ask(Method::GET, &format!("{path}?limit=1000"), None).await;
        for entry in log["entries"].as_array().unwrap() {
            let by = entry["actor"].as_str().unwrap();
            let is_known = entry["actor"] == actor
                || by == "server"
                || by == "local"
                || by.starts_with("key:");
            assert!(is_known, "{entry}");
        }
    }
    let versions = scene.ask(Method::GET, "/networks/home/policy/versions", None).await;
    assert_eq!(versions["versions"][0]["author"], actor);
    let document = serde_json::to_value(control::api::openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            let path = path.trim_start_matches("/api/v1");
            let operation = format!("{} {path}", method.to_uppercase());
            assert!(acts.iter().any(|(done, ..)| *done == operation), "{operation} was not done");
        }
    }
}
