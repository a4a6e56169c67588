//! Each step of the schema, from the one before, with something in it.

use std::borrow::Cow;

use control::app::now;
use control::core::seal::SealKey;
use control::store::{Page, Store, migrations};
use proto::ticket::UnixSeconds;
use sqlx::migrate::Migrator;

use crate::scene::{Database, SEAL};

/// The step after which there are turns is the next one.
const BEFORE_TURNS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_step_keeps_what_is_there() {
    let seal = SealKey::parse(SEAL).unwrap();
    for database in Database::each().await {
        let mut control_key = None;
        let store = Store::connect(&database.url).await.unwrap();
        let steps = migrations(store.backend());
        for upto in 1..=steps.migrations.len() {
            let some = Migrator {
                migrations: Cow::Owned(steps.migrations[..upto].to_vec()),
                ..Migrator::DEFAULT
            };
            some.run(store.pool()).await.unwrap();
            if upto == 1 {
                let insert = "INSERT INTO networks (id, name, v4, v6, revision, next_host, policy, \
                              created) VALUES ($1, 'old', '10.0.0.0/16', 'fd00::/64', 7, 3, 1, 5)";
                let id = "0".repeat(32);
                sqlx::query(insert).bind(id).execute(store.pool()).await.unwrap();
            }
            if upto == BEFORE_TURNS {
                let secrets = store.secrets(&seal, now()).await.unwrap();
                control_key = Some(secrets.control.at(now()).key.verifying_key());
                let turn = store.take_turn("order", "one", now(), UnixSeconds(u64::MAX >> 1));
                assert!(turn.await.is_err(), "that is what the next step is for");
            }
        }
        store.close().await;
        let store = Store::open(&database.url).await.unwrap();
        let page = Page { after: String::new(), limit: 10 };
        let networks = store.networks(&page).await.unwrap();
        assert_eq!((networks[0].name.as_str(), networks[0].revision), ("old", 7));
        let secrets = store.secrets(&seal, now()).await.unwrap();
        assert_eq!(Some(secrets.control.at(now()).key.verifying_key()), control_key);
        let turn = store.take_turn("order", "one", now(), UnixSeconds(u64::MAX >> 1));
        assert!(turn.await.unwrap());
        store.close().await;
    }
}
