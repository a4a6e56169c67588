//! The commands on the server's own machine, with a database that has something of everything.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use proto::control::{FlowRecord, Report};
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, request};
use crate::scene::{Database, Directory, OPEN, SEAL, Scene};

/// The program with a database, on a thread where it may take its time.
async fn run(words: &[&str], database: &str, seal: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearwire-control"));
    command.args(words).args(["--database", database, "--seal-key-file"]).arg(seal);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).unwrap()
}

/// Something in every table.
async fn fill(database: &Database) {
    let scene = Scene::start(database).await;
    scene.network("home").await;
    scene.policy("home", OPEN).await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let one = Agent::join(scene.client(), &key, 1).await;
    let two = Agent::join(scene.client(), &key, 2).await;
    let gone = scene.client().enrol(&request(&key, 3)).await.unwrap();
    let node = |id| format!("/networks/home/nodes/{id}");
    scene.ask(Method::PATCH, &node(two.id()), Some(json!({ "expire": true }))).await;
    scene.ask(Method::DELETE, &node(gone.node), None).await;
    let region = json!({ "id": 1, "name": "here", "relays": [] });
    scene.ask(Method::PUT, "/regions", Some(json!({ "regions": [region] }))).await;
    let flow: FlowRecord = serde_json::from_value(json!({
        "at": 5, "event": "denied", "protocol": 6, "source": "100.64.0.1", "destination": "100.64.0.2",
    }))
    .unwrap();
    let report = Report { flows: vec![flow], ..Report::default() };
    one.client.report(&one.session, &report).await.unwrap();
    drop((one, two));
    scene.server.drain(std::time::Duration::from_secs(1)).await;
}

/// The rows of a backup, in no order: databases compare texts differently.
fn rows(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(without_instance).collect()
}

/// Nobody speaks with a node of a restored database.
fn without_instance(line: &str) -> String {
    let mut row: Value = serde_json::from_str(line).unwrap();
    if row[0] == "nodes" {
        row[1][9] = Value::Null;
    }
    row.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_from_either_database_into_either() {
    let directory = Directory::new();
    let seal = directory.0.join("seal.key");
    std::fs::write(&seal, SEAL).unwrap();
    let mut number = 0;
    for from in Database::each().await {
        fill(&from).await;
        number += 1;
        let backup = directory.0.join(format!("backup{number}"));
        let words = ["backup", backup.to_str().unwrap(), "--json"];
        let made = json_of(&run(&words, &from.url, &seal).await);
        let tables: BTreeSet<String> = rows(&backup)
            .iter()
            .filter_map(|row| {
                serde_json::from_str::<Value>(row).unwrap()[0].as_str().map(str::to_owned)
            })
            .collect();
        assert_eq!(tables.len(), 13, "something of every table: {tables:?}");
        for into in Database::each().await {
            let words = ["restore", backup.to_str().unwrap(), "--json"];
            let restored = json_of(&run(&words, &into.url, &seal).await);
            assert_eq!(restored["rows"], made["rows"]);
            let verified = printed(&run(&["audit", "verify"], &into.url, &seal).await);
            assert!(verified.contains("all in place"), "{verified}");
            number += 1;
            let again = directory.0.join(format!("backup{number}"));
            printed(&run(&["backup", again.to_str().unwrap()], &into.url, &seal).await);
            assert_eq!(rows(&again), rows(&backup));
            // It serves: with what it knew, and what comes anew.
            let scene = Scene::start(&into).await;
            let nodes = scene.ask(Method::GET, "/networks/home/nodes", None).await;
            assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2);
            let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
            Agent::join(scene.client(), &key, 9).await;
            scene.server.drain(std::time::Duration::ZERO).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_seal_key_and_the_audit_log_by_command() {
    for database in Database::each().await {
        fill(&database).await;
        let directory = Directory::new();
        let [old, new] = ["old.key", "new.key"].map(|name| directory.0.join(name));
        std::fs::write(&old, SEAL).unwrap();
        std::fs::write(&new, "not a key").unwrap();
        let words = ["rekey", "--json", "--new-seal-key-file", new.to_str().unwrap()];
        let refused = run(&words, &database.url, &old).await;
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("new.key") && said.contains("openssl rand"), "{said}");
        std::fs::write(&new, SEAL.replace('A', "B")).unwrap();
        let secrets = json_of(&run(&words, &database.url, &old).await)["secrets"].as_u64();
        assert_eq!(secrets, Some(2));
        let refused = run(&["token"], &database.url, &old).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("was not sealed with this key"),
            "{said}"
        );
        let token = json_of(&run(&["token", "--json"], &database.url, &new).await);
        assert!(token["secret"].as_str().unwrap().starts_with("nwa_"), "{token}");

        let exported = printed(&run(&["audit", "export"], &database.url, &new).await);
        let entries: Vec<Value> =
            exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for action in ["server.rekey", "token.create", "node.enrol", "node.revoke", "regions.put"] {
            let found = entries.iter().any(|entry| entry["action"] == action);
            assert!(found, "no {action} in {exported}");
        }
        let verified = printed(&run(&["audit", "verify", "--json"], &database.url, &new).await);
        let logs: Vec<Value> =
            verified.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(logs.iter().all(|log| log["broken"].is_null()), "{verified}");
        let count: u64 = logs.iter().map(|log| log["entries"].as_u64().unwrap()).sum();
        assert_eq!(count, entries.len() as u64);
        // What was changed is found, and said by the exit code.
        let store = control::store::Store::open(&database.url).await.unwrap();
        let drop = match store.backend() {
            control::store::Backend::Sqlite => "DROP TRIGGER audit_is_not_changed",
            control::store::Backend::Postgres => "DROP TRIGGER audit_is_only_added_to ON audit",
        };
        sqlx::query(drop).execute(store.pool()).await.unwrap();
        let change = "UPDATE audit SET actor = 'nobody' WHERE action = 'server.rekey'";
        sqlx::query(change).execute(store.pool()).await.unwrap();
        store.close().await;
        let broken = run(&["audit", "verify"], &database.url, &new).await;
        assert!(!broken.status.success());
        assert!(String::from_utf8_lossy(&broken.stdout).contains("was changed"));
    }
}
