//! What relays hear of nodes that have lost their right.

use std::collections::BTreeSet;
use std::time::Duration;

use control::core::scope::Scope;
use control_client::Frames;
use proto::control::{RenewRequest, RevocationFrame, Revoked};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, request, signing_key};
use crate::scene::{Database, OPEN, Scene, mint};

const PATIENCE: Duration = Duration::from_secs(20);

/// A relay, as far as it hears.
struct Relay {
    frames: Frames<RevocationFrame>,
    revoked: BTreeSet<Revoked>,
}

impl Relay {
    async fn at(scene: &Scene, token: &str) -> Self {
        let frames = scene.client().revocations(token).await.unwrap();
        let mut relay = Self { frames, revoked: BTreeSet::new() };
        assert!(relay.hear().await, "it begins with everything");
        relay
    }

    /// Takes a line; tells whether it is everything.
    async fn hear(&mut self) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.frames.next()).await;
        let frame = frame.expect("in time").unwrap().expect("more");
        if frame.anew {
            self.revoked.clear();
        }
        self.revoked.extend(frame.revoked);
        frame.restored.iter().for_each(|restored| {
            self.revoked.remove(restored);
        });
        frame.anew
    }

    async fn until(&mut self, what: &str, revoked: &[Revoked]) {
        let wanted: BTreeSet<Revoked> = revoked.iter().copied().collect();
        for _ in 0..20 {
            if self.revoked == wanted {
                return;
            }
            self.hear().await;
        }
        panic!("{what}: {:?}", self.revoked);
    }
}

/// The token of a relay, of one network or of all.
async fn relay_token(scene: &Scene, network: Option<&str>) -> String {
    let body = json!({ "scopes": ["relays:follow"], "network": network });
    let made = scene.ask(Method::POST, "/tokens", Some(body)).await;
    made["secret"].as_str().unwrap().to_owned()
}

fn of(node: &Agent, seed: u16) -> Revoked {
    let identity = Some(signing_key(seed).verifying_key());
    Revoked { network: node.netmap.network.id, identity }
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_of_every_instance_hear_who_has_lost_the_right_and_who_has_it_again() {
    let database = Database::postgres().await;
    let scenes = [Scene::start(&database).await, Scene::start(&database).await];
    let [here, there] = &scenes;
    for name in ["home", "office"] {
        here.network(name).await;
        here.policy(name, OPEN).await;
    }
    let body = || json!({ "tags": ["tag:web"], "reusable": true });
    let key = here.key("home", body()).await;
    let other_key = here.key("office", body()).await;
    let one = Agent::join(here.client(), &key, 1).await;
    let two = Agent::join(here.client(), &key, 2).await;
    let three = Agent::join(here.client(), &other_key, 3).await;
    let mut relays = [
        Relay::at(here, &relay_token(here, None).await).await,
        Relay::at(there, &relay_token(here, None).await).await,
    ];
    let mut own = Relay::at(there, &relay_token(here, Some("office")).await).await;
    let change = async |node: &Agent, body: Value| {
        let path = format!("/networks/home/nodes/{}", node.id());
        here.ask(Method::PATCH, &path, Some(body)).await;
    };
    change(&one, json!({ "approved": false })).await;
    change(&two, json!({ "expire": true })).await;
    for relay in &mut relays {
        relay.until("both are out", &[of(&one, 1), of(&two, 2)]).await;
    }
    change(&one, json!({ "approved": true })).await;
    two.client.enrol(&request(&key, 2)).await.unwrap();
    for relay in &mut relays {
        relay.until("both are in again", &[]).await;
    }
    here.ask(Method::DELETE, &format!("/networks/home/nodes/{}", one.id()), None).await;
    here.ask(Method::DELETE, &format!("/networks/office/nodes/{}", three.id()), None).await;
    own.until("it hears of its own network", &[of(&three, 3)]).await;
    // A node that comes anew by the same node key is let in again, as another node.
    one.client.enrol(&request(&key, 1)).await.unwrap();
    for relay in &mut relays {
        relay.until("one has come anew", &[of(&three, 3)]).await;
    }
    let whole = |node: &Agent| Revoked { network: node.netmap.network.id, identity: None };
    here.ask(Method::DELETE, "/networks/office", None).await;
    for relay in &mut relays {
        relay.until("the network is gone", &[of(&three, 3), whole(&three)]).await;
    }
    // Who comes later hears of it all.
    let mut late = Relay::at(there, &relay_token(here, None).await).await;
    late.until("all of it", &[of(&three, 3), whole(&three)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_key_before_is_revoked_too() {
    for database in Database::each().await {
        let scene = Scene::start(&database).await;
        scene.network("home").await;
        let key = scene.key("home", json!({ "tags": ["tag:web"] })).await;
        let one = Agent::join(scene.client(), &key, 1).await;
        let mut relay = Relay::at(&scene, &relay_token(&scene, None).await).await;
        let renewal = RenewRequest::new(one.id(), &one.key, &signing_key(9));
        one.client.renew(&one.session, &renewal).await.unwrap();
        scene.ask(Method::DELETE, &format!("/networks/home/nodes/{}", one.id()), None).await;
        relay.until("both of its keys", &[of(&one, 1), of(&one, 9)]).await;
        scene.server.drain(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_with_the_right_hears_of_it() {
    let scene = Scene::start(&Database::sqlite()).await;
    let ask = async |token: &str| {
        let url = format!("{}/relay/v1/revocations", scene.url);
        scene.http.get(url).bearer_auth(token).send().await.unwrap().status()
    };
    let store = scene.server.app().store();
    let others = Scope::ALL.iter().copied().filter(|scope| *scope != Scope::RelaysFollow);
    assert_eq!(ask(&mint(store, others.collect()).await).await, StatusCode::FORBIDDEN);
    assert_eq!(ask("nwa_0123456789abcdef_00").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&mint(store, vec![Scope::RelaysFollow]).await).await, StatusCode::OK);
}
