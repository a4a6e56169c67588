//! Who makes the server wait, and who asks too much.

use std::time::{Duration, Instant};

use control::hub::Sweep;
use control::server::Patience;
use proto::control::Report;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::agent::{Agent, request, signing_key};
use crate::scene::{Database, OPEN, Scene};

const SHORT: Patience = Patience {
    head: Duration::from_millis(500),
    request: Duration::from_secs(1),
    unacknowledged: Duration::from_secs(2),
};

async fn hasty() -> Scene {
    let database = Database::sqlite();
    let mut config = database.config();
    config.patience = SHORT;
    let sweep = Sweep { every: Duration::from_millis(200), dead_after: 40, ephemeral_after: 600 };
    Scene::start_with(&database, sweep, config).await
}

async fn connect(scene: &Scene) -> TcpStream {
    TcpStream::connect(scene.server.addresses().api).await.unwrap()
}

/// What comes until the other side ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    // A reset is an end too.
    let _ = read.expect("the server lets go");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_let_go() {
    let scene = hasty().await;
    let mut silent = connect(&scene).await;
    silent.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut slow = connect(&scene).await;
    let head = "POST /agent/v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    // Others are served meanwhile.
    let fine = scene.http.get(format!("{}/healthz", scene.url)).send().await.unwrap();
    assert_eq!(fine.status(), StatusCode::OK);
    let mute = connect(&scene).await;
    let (silent, slow, mute) = tokio::join!(rest(silent), rest(slow), rest(mute));
    assert_eq!(mute, "");
    assert!(!silent.contains("200 OK"), "{silent}");
    assert!(slow.starts_with("HTTP/1.1 503") && slow.contains("took too long"), "{slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_its_stream_is_let_go_and_keeps_nobody_waiting() {
    let scene = hasty().await;
    scene.network("home").await;
    scene.policy("home", OPEN).await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let mut one = Agent::join(scene.client(), &key, 1).await;
    let mover = Agent::join(scene.client(), &key, 2).await;
    let deaf = scene.client().enrol(&request(&key, 3)).await.unwrap().node;
    let token = bearer(&scene, deaf, 3).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(scene.server.addresses().api).await.unwrap();
    let ask = format!(
        "GET /agent/v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let streams = || scene.server.app().hub().streams();
    while streams() < 3 {
        assert!(Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Large news, until what nobody reads fills all buffers between.
    let mut port = 1;
    while streams() == 3 {
        assert!(Instant::now() < deadline, "it is kept");
        port += 1;
        let document = |port: u32| {
            let rule = |n: u32| {
                let port = 1 + (port * 400 + n) % 60_000;
                format!(r#"{{ "action": "accept", "src": ["*"], "dst": ["*:{port}"] }}"#)
            };
            format!(r#"{{ "acls": [{}] }}"#, (0..400).map(rule).collect::<Vec<_>>().join(","))
        };
        scene.policy("home", &document(port)).await;
        let revision = one.netmap.revision;
        one.until("the one who reads hears", |netmap| netmap.revision > revision).await;
    }
    mover.client.report(&mover.session, &Report::default()).await.unwrap();
    drop(stream);
}

/// The token of a node's session, which `control_client` keeps to itself.
async fn bearer(scene: &Scene, node: proto::control::NodeId, seed: u16) -> String {
    let post = |what: &str, body: serde_json::Value| {
        let request = scene.http.post(format!("{}/agent/v1/{what}", scene.url)).json(&body);
        async move { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap() }
    };
    let asked = post("challenge", json!({ "node": node })).await;
    let challenge = asked["challenge"].as_str().unwrap().to_owned();
    let answer = proto::control::SessionRequest::answer(node, challenge, &signing_key(seed));
    let session = post("session", serde_json::to_value(&answer).unwrap()).await;
    session["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_has_to_wait_and_others_need_not() {
    let scene = Scene::start(&Database::sqlite()).await;
    scene.network("home").await;
    let key = scene.key("home", json!({ "tags": ["tag:web"], "reusable": true })).await;
    let busy = Agent::join(scene.client(), &key, 1).await;
    let calm = Agent::join(scene.client(), &key, 2).await;
    let report = Report::default();
    let mut refused = None;
    for _ in 0..1_000 {
        if let Err(error) = busy.client.report(&busy.session, &report).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("a node has a limit").to_string();
    assert!(refused.contains("429") && refused.contains("slower"), "{refused}");
    calm.client.report(&calm.session, &report).await.unwrap();
    // It is no failure: the address is not locked out, and the node may go on in a moment.
    let deadline = Instant::now() + Duration::from_secs(10);
    while busy.client.report(&busy.session, &report).await.is_err() {
        assert!(Instant::now() < deadline, "it waits for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, _) = scene.ask_as(&scene.root, Method::GET, "/networks", None).await;
    assert_eq!(status, StatusCode::OK);
}
