//! Each step of the schema, from the one before, with something in every table.

use std::borrow::Cow;

use control::clock::now;
use control::core::key_lifetime::KeyLifetime;
use control::core::seal::SealKey;
use control::store::{Backend, Page, Store, migrations};
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

use crate::scene::{Database, SEAL};

/// A row of each table, as the step wrote it that made the table: the step, the table, columns, values.
const ROWS: &[(i64, &str, &str, &str)] = &[
    (1, "secrets", "name, sealed", "'acme-account x', 'c2VhbGVk'"),
    (1, "networks", "id, name, v4, v6, revision, next_host, policy, created", NETWORK),
    (
        1,
        "nodes",
        "id, network, name, host, node_key, wireguard_key, expires, ephemeral, lapsed, instance, seen, \
         record",
        NODE,
    ),
    (1, "released", "network, host, since", "'00000000000000000000000000000000', 1, 5"),
    (
        1,
        "enrolment_keys",
        "id, network, hash, uses, record",
        "'0123456789abcdef', '00000000000000000000000000000000', 'hash', 1, '{}'",
    ),
    (1, "tokens", "id, network, hash, record", "'0123456789abcdef', NULL, 'hash', '{}'"),
    (
        1,
        "policies",
        "network, version, text, author, comment, created",
        "'00000000000000000000000000000000', 1, '{ \"acls\": [] }', 'somebody', '', 5",
    ),
    (1, "regions", "network, record", "'', '[]'"),
    (
        1,
        "changes",
        "network, revision, kind, subject",
        "'00000000000000000000000000000000', 7, 'policy', ''",
    ),
    (1, "instances", "id, seen", "'one', 5"),
    (1, "chains", "chain, number, hash", "'other', 1, 'hash'"),
    (
        1,
        "audit",
        "chain, number, at, actor, action, subject, detail, previous, hash",
        "'other', 1, 5, 'somebody', 'node.enrol', 'n', '{}', '', 'hash'",
    ),
    (
        2,
        "flows",
        "network, number, node, at, source, destination, event, record",
        "'00000000000000000000000000000000', 1, 'n', 5, '::1', '::2', 'start', '{}'",
    ),
    (5, "turns", "name, instance, until", "'other', 'one', 5"),
    (7, "revocations", "network, identity, until", "'00000000000000000000000000000000', '', 5"),
];
const NETWORK: &str =
    "'00000000000000000000000000000000', 'old', '10.0.0.0/16', 'fd00::/64', 7, 3, 1, 5";
/// As nodes were written at first: what came later has to have a meaning where it is missing.
const NODE: &str = "'n11111111111111111111111111111111', '00000000000000000000000000000000', 'web', 2, \
    'aa', 'bb', NULL, 0, 0, NULL, 5, \
    '{\"id\":\"n11111111111111111111111111111111\",\"name\":\"web\",\"host\":2,\
    \"owner\":{\"tags\":[\"tag:web\"]},\"standing\":\"approved\",\"ephemeral\":false,\
    \"node_key\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\
    \"key\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"key_since\":5,\"next_key\":null,\
    \"offered\":[],\"approved\":[],\"endpoints\":[],\"home\":null,\"online\":false,\"os\":\"linux\",\
    \"agent\":\"nearwire\",\"created\":5,\"expires\":null,\"lapsed\":false,\"applied\":null}'";

/// The step after which control keys have their present columns.
const WITH_CONTROL_KEYS: i64 = 4;

/// What of a row is as it was written.
async fn found(store: &Store, table: &str, columns: &str, values: &str) -> i64 {
    let pairs = columns.split(", ").zip(split(values));
    let is = |(column, value): (&str, &str)| match value {
        "NULL" => format!("{column} IS NULL"),
        value => format!("{column} = {value}"),
    };
    let all = pairs.map(is).collect::<Vec<_>>().join(" AND ");
    let sql = format!("SELECT COUNT(*) FROM {table} WHERE {all}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(store.pool()).await.unwrap()
}

/// Values between commas; those within quotes are of a value.
fn split(values: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in values.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(values[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(values[start..].trim());
    parts
}

/// The tables that there are, without sqlx's own.
async fn tables(store: &Store) -> Vec<String> {
    let sql = match store.backend() {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name NOT LIKE '_sqlx%'"
        }
        Backend::Postgres => {
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
             WHERE table_schema = 'public' AND table_name NOT LIKE '_sqlx%'"
        }
    };
    let mut tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(store.pool()).await.unwrap();
    // Databases order texts differently.
    tables.sort();
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_keeps_what_is_there() {
    let seal = SealKey::parse(SEAL).unwrap();
    for database in Database::each().await {
        let mut control_key = None;
        let store = Store::connect(&database.url).await.unwrap();
        let steps = migrations(store.backend());
        let versions: Vec<i64> = steps.migrations.iter().map(|step| step.version).collect();
        for (at, version) in versions.iter().enumerate() {
            let some = Migrator {
                migrations: Cow::Owned(steps.migrations[..=at].to_vec()),
                ..Migrator::DEFAULT
            };
            some.run(store.pool()).await.unwrap();
            for (_, table, columns, values) in ROWS.iter().filter(|(step, ..)| step == version) {
                let sql = format!("INSERT INTO {table} ({columns}) VALUES ({values})");
                sqlx::query(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
            }
            for (_, table, columns, values) in ROWS.iter().filter(|(step, ..)| step <= version) {
                let found = found(&store, table, columns, values).await;
                assert_eq!(found, 1, "{table} after step {version}");
            }
            if *version == WITH_CONTROL_KEYS {
                let secrets = store.secrets(&seal, now()).await.unwrap();
                control_key = Some(secrets.control.at(now()).key.verifying_key());
            }
        }
        // The rows of control keys are the server's own; all others are above.
        let mut with_rows: Vec<&str> = ROWS.iter().map(|(_, table, ..)| *table).collect();
        with_rows.push("control_keys");
        with_rows.sort_unstable();
        assert_eq!(tables(&store).await, with_rows);
        store.close().await;

        let store = Store::open(&database.url).await.unwrap();
        let page = Page { after: String::new(), limit: 10 };
        let networks = store.networks(&page).await.unwrap();
        assert_eq!((networks[0].name.as_str(), networks[0].revision), ("old", 7));
        assert_eq!((networks[0].flow_logs, networks[0].key_lifetime), (0, KeyLifetime::USUAL));
        let nodes = store.all_nodes(networks[0].id).await.unwrap();
        assert_eq!((nodes[0].name.as_str(), nodes[0].last_node_key), ("web", None));
        let secrets = store.secrets(&seal, now()).await.unwrap();
        assert_eq!(Some(secrets.control.at(now()).key.verifying_key()), control_key);
        assert!(store.take_turn("other", "two", 600).await.unwrap(), "that one was over");
        store.close().await;
    }
}

/// As when several instances are started together for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_make_one_schema_and_one_key() {
    let begun = async |url: String| {
        let store = Store::open(&url).await.unwrap();
        let seal = SealKey::parse(SEAL).unwrap();
        let secrets = store.secrets(&seal, now()).await.unwrap();
        store.close().await;
        secrets.control.at(now()).key.verifying_key()
    };
    let database = Database::postgres().await;
    let starting: Vec<_> = (0..5).map(|_| tokio::spawn(begun(database.url.clone()))).collect();
    let mut keys = Vec::new();
    for instance in starting {
        keys.push(instance.await.unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]), "each has a key of its own");
}
