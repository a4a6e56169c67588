//! What lies in the database, and who can use it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use control::app::now;
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
