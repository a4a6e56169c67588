//! What one instance does at a time.

use control::store::Store;

use crate::scene::Database;

const LONG: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_one_instances_until_it_ends_or_is_not_held() {
    for database in Database::each().await {
        let [one, other] = [(); 2].map(|()| Store::open(&database.url));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        // By the database's clock: one that is held for no time is over at once.
        let take = async |store: &Store, name: &str, instance: &str, lasts: u64| {
            store.take_turn(name, instance, lasts).await.unwrap()
        };
        assert!(take(&one, "order", "one", LONG).await);
        assert!(!take(&other, "order", "other", LONG).await, "it is the first one's");
        assert!(take(&other, "else", "other", LONG).await, "another thing has a turn of its own");
        assert!(take(&one, "order", "one", 0).await, "who has it may hold it");
        assert!(take(&other, "order", "other", LONG).await, "it was not held");
        assert!(!take(&one, "order", "one", LONG).await, "and is lost");
        other.end_turns("other").await.unwrap();
        assert!(take(&one, "order", "one", LONG).await);
        assert!(take(&one, "else", "one", LONG).await);
        one.close().await;
        other.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_it_at_once_one_has_it() {
    for database in Database::each().await {
        let store = Store::open(&database.url).await.unwrap();
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move {
                    let instance = format!("instance {number}");
                    store.take_turn("order", &instance, LONG).await
                })
            })
            .collect();
        let mut had = 0;
        for task in tasks {
            had += u32::from(task.await.unwrap().unwrap());
        }
        assert_eq!(had, 1);
        store.close().await;
    }
}
